#!/usr/bin/env bash
# What clients of the CF API do when their token is refused and they cannot get another one.
#
# Software: org.cloudfoundry:cloudfoundry-client-reactor 5.15.0.RELEASE (Java), github.com/cloudfoundry/go-cfclient/v3
# v3.0.0-beta.1 (Go). Seen on 2026-11-30 with OpenJDK 17.0.15 and Go 1.26.8.
#
# A server answers every call with 401 and CF's own body (code 1000). The client has one token and no way to renew it, as a
# program that got its token elsewhere.
#   Java  sends the same call with the same token 6 times (`invalidTokenRetries` is 5) and throws a RetryExhaustedException
#         "Retries exhausted: 5/5"; what the server said is nowhere (the cause is an InvalidTokenException without a message)
#   Go    sends it twice, and returns the server's text
# So an expired token costs a caller in Java six calls, and "Retries exhausted" means: get a new token. With
# `DefaultConnectionContext.builder().invalidTokenRetries(0L)` it is one call, and "Retries exhausted: 0/0".
#
# Runs without cfapi-broker, in a folder of its own; cf-clients.bash has the server and how the clients are run. Needs
# Python 3, a JDK 17, Maven and Go 1.23 or newer, and their registries. Fails if the output differs from the above.
set -euo pipefail
. "$(dirname "$0")/cf-clients.bash"

serve <<'E'
ERRORS = [{"code": 1000, "title": "CF-InvalidAuthToken", "detail": "Invalid Auth Token"}]
counts = {}
def answer(path):
    if path == "/counts":
        return 200, "json", counts
    counts[path] = counts.get(path, 0) + 1
    return 401, "json", {"errors": ERRORS}
E

run_java <<'E'
import org.cloudfoundry.client.v3.applications.GetApplicationRequest;
import org.cloudfoundry.reactor.DefaultConnectionContext;
import org.cloudfoundry.reactor.client.ReactorCloudFoundryClient;
import reactor.core.publisher.Mono;

public class Show {
    public static void main(String[] args) {
        for (long retries : new long[] {5, 0}) {
            var settings = DefaultConnectionContext.builder()
                    .apiHost("127.0.0.1").port(Integer.parseInt(System.getenv("PORT"))).secure(false);
            // 5 is the default.
            var connection = retries == 5 ? settings.build() : settings.invalidTokenRetries(retries).build();
            var cf = ReactorCloudFoundryClient.builder()
                    .connectionContext(connection).tokenProvider(context -> Mono.just("bearer token")).build();
            try {
                cf.applicationsV3().get(GetApplicationRequest.builder().applicationId("java-" + retries).build()).block();
            } catch (RuntimeException e) {
                var cause = e.getCause();
                System.out.printf("Java, %d: %s \"%s\", caused by %s \"%s\"%n", retries, e.getClass().getSimpleName(),
                        e.getMessage(), cause.getClass().getSimpleName(), cause.getMessage());
            }
            connection.dispose();
        }
    }
}
E

run_go <<'E'
package main

import (
	"context"
	"fmt"
)

func main() {
	_, err := connect().Applications.Get(context.Background(), "go")
	fmt.Printf("Go: \"%v\"\n", err)
}
E
python3 - <<'E' | tee -a seen
import json, os, urllib.request
counts = json.load(urllib.request.urlopen("http://127.0.0.1:%s/counts" % os.environ["PORT"]))
print({path.rsplit("/", 1)[1]: count for path, count in counts.items() if "/apps/" in path})
E

diff seen - <<'E'
Java, 5: RetryExhaustedException "Retries exhausted: 5/5", caused by InvalidTokenException "null"
Java, 0: RetryExhaustedException "Retries exhausted: 0/0", caused by InvalidTokenException "null"
Go: "error executing GET request for /v3/apps/go: cfclient error (CF-InvalidAuthToken|1000): Invalid Auth Token"
{'java-5': 6, 'java-0': 1, 'go': 2}
E
echo "as described"
