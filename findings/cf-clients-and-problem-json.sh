#!/usr/bin/env bash
# What clients of the CF API show when something between them and Cloud Foundry refuses a call with an RFC 9457 problem.
#
# Software: org.cloudfoundry:cloudfoundry-client-reactor 5.15.0.RELEASE (Java), github.com/cloudfoundry/go-cfclient/v3
# v3.0.0-beta.1 (Go). Seen on 2026-11-30 with OpenJDK 17.0.15 and Go 1.26.8.
#
# A gateway answers 403, `application/problem+json`, with a `detail` for the person who called. That is valid HTTP, and
# valid JSON. The CF API itself sends an array `errors` instead, and both clients read only that array:
#   Java  ClientV3Exception with status 403, no errors, and an EMPTY message
#   Go    "cfclient: HTTP error (403): 403 Forbidden"; the body is kept in CloudFoundryHTTPError.Body, but not shown
# With an array `errors` beside the members of the problem both show its text:
#   Java  "CF-NotAuthorized(10003): Ask the operator for a role."
#   Go    "cfclient error (CF-NotAuthorized|10003): Ask the operator for a role."
# So a service in front of the CF API adds `errors`, and a user of the Java client logs getStatusCode(), too.
#
# Runs without cfapi-broker, in a folder of its own; cf-clients.bash has the server and how the clients are run. Needs
# Python 3, a JDK 17, Maven and Go 1.23 or newer, and their registries. Fails if the output differs from the above.
set -euo pipefail
. "$(dirname "$0")/cf-clients.bash"

serve <<'E'
PROBLEM = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "Ask the operator for a role."}
ERRORS = [{"code": 10003, "title": "CF-NotAuthorized", "detail": "Ask the operator for a role."}]
def answer(path):
    return 403, "problem+json", dict(PROBLEM, errors=ERRORS) if "with-errors" in path else PROBLEM
E

run_java <<'E'
import org.cloudfoundry.AbstractCloudFoundryException;
import org.cloudfoundry.client.v3.applications.GetApplicationRequest;
import org.cloudfoundry.reactor.DefaultConnectionContext;
import org.cloudfoundry.reactor.client.ReactorCloudFoundryClient;
import reactor.core.publisher.Mono;

public class Show {
    public static void main(String[] args) {
        var connection = DefaultConnectionContext.builder()
                .apiHost("127.0.0.1").port(Integer.parseInt(System.getenv("PORT"))).secure(false).build();
        var cf = ReactorCloudFoundryClient.builder()
                .connectionContext(connection).tokenProvider(context -> Mono.just("bearer token")).build();
        for (String app : new String[] {"without-errors", "with-errors"}) {
            try {
                cf.applicationsV3().get(GetApplicationRequest.builder().applicationId(app).build()).block();
            } catch (AbstractCloudFoundryException e) {
                System.out.printf("Java, %s: %s, %d, \"%s\"%n", app, e.getClass().getSimpleName(), e.getStatusCode(), e.getMessage());
            }
        }
        connection.dispose();
    }
}
E

run_go <<'E'
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cloudfoundry/go-cfclient/v3/resource"
)

func main() {
	cf := connect()
	for _, app := range []string{"without-errors", "with-errors"} {
		_, err := cf.Applications.Get(context.Background(), app)
		var unknown resource.CloudFoundryHTTPError
		kept := errors.As(err, &unknown) && strings.Contains(string(unknown.Body), "Ask the operator for a role.")
		fmt.Printf("Go, %s: \"%v\", body kept: %v\n", app, err, kept)
	}
}
E

diff seen - <<'E'
Java, without-errors: ClientV3Exception, 403, ""
Java, with-errors: ClientV3Exception, 403, "CF-NotAuthorized(10003): Ask the operator for a role."
Go, without-errors: "error executing GET request for /v3/apps/without-errors: cfclient: HTTP error (403): 403 Forbidden", body kept: true
Go, with-errors: "error executing GET request for /v3/apps/with-errors: cfclient error (CF-NotAuthorized|10003): Ask the operator for a role.", body kept: false
E
echo "as described"
