import cfapi.ApiClient;
import cfapi.ApiException;
import cfapi.api.RoutesApi;
import cfapi.model.EnsuredRoute;
import cfapi.model.Problem;
import cfapi.model.RouteRequest;

/**
 * A program on the generated client: creates, reads, lists and deletes a tenant route, and reads a problem.
 * Arguments: address of the broker, token.
 */
public final class Client {
    private Client() {}

    public static void main(String[] arguments) throws Exception {
        ApiClient client = new ApiClient();
        client.updateBaseUri(arguments[0]);
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + arguments[1]));
        RoutesApi routes = new RoutesApi(client);
        String tenant = "java";
        RouteRequest wanted = new RouteRequest().subdomain("java").app("saas-approuter");
        EnsuredRoute made = routes.ensureRoute(tenant, wanted, null, null);
        same(made.getOutcome().getValue(), "created");
        same(routes.readRoutesOfTenant(tenant, null).getRoutes().get(0).getUrl(), made.getUrl());
        long listed = routes.listRoutes(null, null, null, null, 500).getResources().stream()
            .filter(route -> route.getTenant().equals(tenant)).count();
        same(listed, 1L);
        same(routes.deleteRoutesOfTenantWithHttpInfo(tenant, null, null, null, null, null, null).getStatusCode(), 204);
        try {
            routes.readRoutesOfTenant(tenant, null);
            throw new AssertionError("a deleted route is there");
        } catch (ApiException error) {
            same(error.getCode(), 404);
            Problem problem = client.getObjectMapper().readValue(error.getResponseBody(), Problem.class);
            same(problem.getCode().getValue(), "not_found");
        }
        System.out.println("java: created, read, listed, deleted; a problem is read");
    }

    private static void same(Object found, Object wanted) {
        if (!found.equals(wanted)) {
            throw new AssertionError(found + ", not " + wanted);
        }
    }
}
