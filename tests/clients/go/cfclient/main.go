// go-cfclient: a tenant's route from creation to deletion. Only URL and token are given.
// With REFUSED=true it prints what it shows of a call that the allow list of the broker does not have.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/cloudfoundry/go-cfclient/v3/client"
	"github.com/cloudfoundry/go-cfclient/v3/config"
	"github.com/cloudfoundry/go-cfclient/v3/resource"
)

// recorder keeps what the client asked for, and the status of the last answer.
type recorder struct {
	asked  []string
	status int
}

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	r.asked = append(r.asked, request.URL.String())
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err == nil {
		r.status = answer.StatusCode
	}
	return answer, err
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	record := &recorder{}
	settings, err := config.New(os.Getenv("URL"),
		config.Token(os.Getenv("TOKEN"), ""),
		config.HttpClient(&http.Client{Transport: record}))
	if err != nil {
		return err
	}
	cf, err := client.New(settings)
	if err != nil {
		return err
	}
	named := client.NewAppListOptions()
	named.Names = client.Filter{Values: []string{os.Getenv("APP")}}
	app, err := cf.Applications.Single(ctx, named)
	if err != nil {
		return err
	}
	if os.Getenv("REFUSED") == "true" {
		_, err := cf.Applications.GetEnvironment(ctx, app.GUID)
		return printed(map[string]any{"message": fmt.Sprint(err)})
	}
	return work(ctx, cf, app, record)
}

func work(ctx context.Context, cf *client.Client, app *resource.App, record *recorder) error {
	record.asked = nil
	small := client.NewSpaceListOptions()
	small.PerPage = 1
	spaces, err := cf.Spaces.ListAll(ctx, small)
	if err != nil {
		return err
	}
	names := []string{}
	for _, space := range spaces {
		names = append(names, space.Name)
	}
	space, err := cf.Spaces.Get(ctx, app.Relationships.Space.Data.GUID)
	if err != nil {
		return err
	}
	organizations, err := cf.Organizations.ListAll(ctx, nil)
	if err != nil {
		return err
	}
	wanted := client.NewDomainListOptions()
	wanted.Names = client.Filter{Values: []string{os.Getenv("DOMAIN")}}
	domain, err := cf.Domains.Single(ctx, wanted)
	if err != nil {
		return err
	}

	host := "go-" + app.Name
	create := resource.NewRouteCreate(domain.GUID, space.GUID)
	create.Host = &host
	route, err := cf.Routes.Create(ctx, create)
	if err != nil {
		return err
	}
	_, again := cf.Routes.Create(ctx, create)
	var refusal resource.CloudFoundryError
	if !errors.As(again, &refusal) {
		return fmt.Errorf("no refusal of CF: %w", again)
	}
	refused := record.status
	target := resource.NewRouteDestinationInsertOrReplace(app.GUID)
	if _, err := cf.Routes.InsertDestinations(ctx, route.GUID, []*resource.RouteDestinationInsertOrReplace{target}); err != nil {
		return err
	}
	mapped := record.status
	hosts := client.NewRouteListOptions()
	hosts.Hosts = client.Filter{Values: []string{host}}
	found, err := cf.Routes.ListForAppAll(ctx, app.GUID, hosts)
	if err != nil {
		return err
	}
	guids := []string{}
	for _, one := range found {
		guids = append(guids, one.GUID)
	}
	destinations, err := cf.Routes.GetDestinations(ctx, route.GUID)
	if err != nil {
		return err
	}
	same := []bool{}
	for _, one := range destinations.Destinations {
		same = append(same, *one.App.GUID == app.GUID)
	}
	read, err := cf.Routes.Get(ctx, route.GUID)
	if err != nil {
		return err
	}
	home, err := cf.Spaces.Get(ctx, read.Relationships.Space.Data.GUID)
	if err != nil {
		return err
	}
	reservation := client.NewRouteReservationListOptions()
	reservation.Hosts = host
	reserved, err := cf.Routes.IsRouteReserved(ctx, domain.GUID, reservation)
	if err != nil {
		return err
	}
	for _, one := range destinations.Destinations {
		if err := cf.Routes.RemoveDestination(ctx, route.GUID, *one.GUID); err != nil {
			return err
		}
	}
	unmapped, err := cf.Routes.GetDestinations(ctx, route.GUID)
	if err != nil {
		return err
	}

	job, err := cf.Routes.Delete(ctx, route.GUID)
	if err != nil {
		return err
	}
	often := client.NewPollingOptions()
	often.CheckInterval = 250 * time.Millisecond
	if err := cf.Jobs.PollComplete(ctx, job, often); err != nil {
		return err
	}
	done, err := cf.Jobs.Get(ctx, job)
	if err != nil {
		return err
	}
	left, err := cf.Routes.ListAll(ctx, hosts)
	if err != nil {
		return err
	}
	return printed(map[string]any{
		"spaces": names, "organizations": len(organizations), "route": route.GUID,
		"again":  []any{refused, map[string]any{"errors": []any{refusal}}},
		"mapped": mapped, "found": guids, "destinations": same, "space": home.Name,
		"reserved": reserved, "unmapped": len(unmapped.Destinations), "job": done.State, "left": len(left), "followed": record.asked,
	})
}

func printed(result map[string]any) error {
	return json.NewEncoder(os.Stdout).Encode(result)
}
