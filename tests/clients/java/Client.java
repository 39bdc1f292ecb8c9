// cloudfoundry-client-reactor: a tenant's route from creation to deletion. Only URL and token are given.
// With REFUSED=true it prints what it shows of a call that the allow list of the broker does not have.

import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.cloudfoundry.client.CloudFoundryClient;
import org.cloudfoundry.client.v3.ClientV3Exception;
import org.cloudfoundry.client.v3.Relationship;
import org.cloudfoundry.client.v3.ToOneRelationship;
import org.cloudfoundry.client.v3.applications.ApplicationResource;
import org.cloudfoundry.client.v3.applications.GetApplicationEnvironmentRequest;
import org.cloudfoundry.client.v3.applications.ListApplicationRoutesRequest;
import org.cloudfoundry.client.v3.applications.ListApplicationsRequest;
import org.cloudfoundry.client.v3.domains.CheckReservedRoutesRequest;
import org.cloudfoundry.client.v3.domains.ListDomainsRequest;
import org.cloudfoundry.client.v3.jobs.GetJobRequest;
import org.cloudfoundry.client.v3.organizations.ListOrganizationsRequest;
import org.cloudfoundry.client.v3.routes.Application;
import org.cloudfoundry.client.v3.routes.CreateRouteRequest;
import org.cloudfoundry.client.v3.routes.CreateRouteResponse;
import org.cloudfoundry.client.v3.routes.DeleteRouteRequest;
import org.cloudfoundry.client.v3.routes.Destination;
import org.cloudfoundry.client.v3.routes.GetRouteRequest;
import org.cloudfoundry.client.v3.routes.InsertRouteDestinationsRequest;
import org.cloudfoundry.client.v3.routes.ListRouteDestinationsRequest;
import org.cloudfoundry.client.v3.routes.ListRoutesRequest;
import org.cloudfoundry.client.v3.routes.RemoveRouteDestinationsRequest;
import org.cloudfoundry.client.v3.routes.RouteRelationships;
import org.cloudfoundry.client.v3.spaces.GetSpaceRequest;
import org.cloudfoundry.client.v3.spaces.ListSpacesRequest;
import org.cloudfoundry.reactor.DefaultConnectionContext;
import org.cloudfoundry.reactor.client.ReactorCloudFoundryClient;
import org.cloudfoundry.util.JobUtils;
import org.cloudfoundry.util.PaginationUtils;
import reactor.core.publisher.Mono;

public class Client {
    private static final String TOKEN = System.getenv("TOKEN");
    private static final Duration LIMIT = Duration.ofSeconds(60);

    /** Every address that the client asked for, and the status of each answer. */
    private static final List<String> asked = Collections.synchronizedList(new ArrayList<>());
    private static final List<Integer> statuses = Collections.synchronizedList(new ArrayList<>());

    public static void main(String[] args) throws Exception {
        DefaultConnectionContext connection = connect(URI.create(System.getenv("URL")));
        CloudFoundryClient cf = ReactorCloudFoundryClient.builder()
                .connectionContext(connection)
                .tokenProvider(context -> Mono.just("bearer " + TOKEN))
                .build();
        ApplicationResource app = cf.applicationsV3()
                .list(ListApplicationsRequest.builder().name(System.getenv("APP")).build())
                .block(LIMIT).getResources().get(0);
        Map<String, Object> result = "true".equals(System.getenv("REFUSED")) ? refused(cf, app) : work(cf, app);
        System.out.println(new ObjectMapper().writeValueAsString(result));
        connection.dispose();
    }

    private static DefaultConnectionContext connect(URI address) {
        return DefaultConnectionContext.builder()
                .apiHost(address.getHost())
                .port(address.getPort())
                .secure(false)
                .additionalHttpClientConfiguration(http -> http
                        .doOnRequest((request, on) -> asked.add(request.resourceUrl()))
                        .doOnResponse((answer, on) -> statuses.add(answer.status().code())))
                .build();
    }

    private static Map<String, Object> refused(CloudFoundryClient cf, ApplicationResource app) {
        try {
            cf.applicationsV3()
                    .getEnvironment(GetApplicationEnvironmentRequest.builder().applicationId(app.getId()).build())
                    .block(LIMIT);
            return Map.of("message", "no refusal");
        } catch (RuntimeException refusal) {
            return Map.of("message", String.valueOf(refusal.getMessage()));
        }
    }

    private static Map<String, Object> work(CloudFoundryClient cf, ApplicationResource app) {
        asked.clear();
        List<String> spaces = PaginationUtils.requestClientV3Resources(page ->
                        cf.spacesV3().list(ListSpacesRequest.builder().perPage(1).page(page).build()))
                .map(space -> space.getName()).collectList().block(LIMIT);
        int organizations = cf.organizationsV3().list(ListOrganizationsRequest.builder().build())
                .block(LIMIT).getResources().size();
        String space = app.getRelationships().getSpace().getData().getId();
        String domain = cf.domainsV3().list(ListDomainsRequest.builder().name(System.getenv("DOMAIN")).build())
                .block(LIMIT).getResources().get(0).getId();

        String host = "java-" + app.getName();
        CreateRouteRequest create = CreateRouteRequest.builder().host(host)
                .relationships(RouteRelationships.builder().space(to(space)).domain(to(domain)).build())
                .build();
        CreateRouteResponse route = cf.routesV3().create(create).block(LIMIT);
        List<Object> again = refusal(() -> cf.routesV3().create(create).block(LIMIT));
        cf.routesV3().insertDestinations(InsertRouteDestinationsRequest.builder().routeId(route.getId())
                .destination(Destination.builder()
                        .application(Application.builder().applicationId(app.getId()).build()).build())
                .build()).block(LIMIT);
        int mapped = last();
        List<String> found = cf.applicationsV3()
                .listRoutes(ListApplicationRoutesRequest.builder().applicationId(app.getId()).host(host).build())
                .block(LIMIT).getResources().stream().map(one -> one.getId()).toList();
        List<Destination> targets = targets(cf, route.getId());
        List<Boolean> destinations = targets.stream()
                .map(one -> app.getId().equals(one.getApplication().getApplicationId())).toList();
        String home = cf.routesV3().get(GetRouteRequest.builder().routeId(route.getId()).build())
                .block(LIMIT).getRelationships().getSpace().getData().getId();
        String homeName = cf.spacesV3().get(GetSpaceRequest.builder().spaceId(home).build()).block(LIMIT).getName();

        boolean reserved = cf.domainsV3()
                .checkReservedRoutes(CheckReservedRoutesRequest.builder().domainId(domain).host(host).build())
                .block(LIMIT).getMatchingRoute();
        for (Destination one : targets) {
            cf.routesV3().removeDestinations(RemoveRouteDestinationsRequest.builder()
                    .routeId(route.getId()).destinationId(one.getDestinationId()).build()).block(LIMIT);
        }
        int unmapped = targets(cf, route.getId()).size();

        String job = cf.routesV3().delete(DeleteRouteRequest.builder().routeId(route.getId()).build()).block(LIMIT);
        JobUtils.waitForCompletion(cf, LIMIT, job).block(LIMIT);
        String state = cf.jobsV3().get(GetJobRequest.builder().jobId(job).build()).block(LIMIT).getState().getValue();
        int left = cf.routesV3().list(ListRoutesRequest.builder().host(host).build())
                .block(LIMIT).getPagination().getTotalResults();

        Map<String, Object> result = new LinkedHashMap<>();
        result.put("spaces", spaces);
        result.put("organizations", organizations);
        result.put("route", route.getId());
        result.put("again", again);
        result.put("mapped", mapped);
        result.put("found", found);
        result.put("destinations", destinations);
        result.put("space", homeName);
        result.put("reserved", reserved);
        result.put("unmapped", unmapped);
        result.put("job", state);
        result.put("left", left);
        result.put("followed", asked);
        return result;
    }

    private static List<Destination> targets(CloudFoundryClient cf, String route) {
        return cf.routesV3().listDestinations(ListRouteDestinationsRequest.builder().routeId(route).build())
                .block(LIMIT).getDestinations();
    }

    /** The status and the errors of a call that CF refuses. */
    private static List<Object> refusal(Runnable call) {
        try {
            call.run();
            return null;
        } catch (ClientV3Exception refusal) {
            return List.of(refusal.getStatusCode(), Map.of("errors", refusal.getErrors().stream()
                    .map(one -> Map.of("code", one.getCode(), "title", one.getTitle(), "detail", one.getDetail()))
                    .toList()));
        }
    }

    private static ToOneRelationship to(String guid) {
        return ToOneRelationship.builder().data(Relationship.builder().id(guid).build()).build();
    }

    private static int last() {
        return statuses.get(statuses.size() - 1);
    }
}
