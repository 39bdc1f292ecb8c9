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
# Runs without cfapi-broker, in a folder of its own. Needs Python 3, a JDK 17, Maven and Go 1.23 or newer, and their
# registries. Fails if the output differs from the above.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"

cat > server.py <<'E'
import http.server, json
ERRORS = [{"code": 1000, "title": "CF-InvalidAuthToken", "detail": "Invalid Auth Token"}]
counts = {}
class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        base = "http://127.0.0.1:%d" % self.server.server_port
        links = {name: {"href": base + path} for name, path in (("cloud_controller_v3", "/v3"), ("login", ""), ("uaa", ""))}
        counts[self.path] = counts.get(self.path, 0) + 1
        answers = {"/": (200, {"links": links}), "/counts": (200, counts)}
        status, answer = answers.get(self.path, (401, {"errors": ERRORS}))
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
print(server.server_port, flush=True)
server.serve_forever()
E
python3 server.py > port & server=$!
until [ -s port ]; do sleep 0.1; done
export PORT; PORT=$(cat port)

mkdir java go
cat > java/pom.xml <<'E'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>finding</groupId><artifactId>java</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.cloudfoundry</groupId><artifactId>cloudfoundry-client-reactor</artifactId><version>5.15.0.RELEASE</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>2.0.9</version></dependency>
  </dependencies>
</project>
E
cat > java/Show.java <<'E'
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
mvn -q -B -f java/pom.xml -Dmaven.repo.local="$folder/maven" -DoutputDirectory="$folder/java/lib" \
  org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies >maven.log 2>&1 || { cat maven.log; exit 1; }
java -cp 'java/lib/*' java/Show.java | tee seen

cat > go/go.mod <<'E'
module finding

go 1.23.0

require github.com/cloudfoundry/go-cfclient/v3 v3.0.0-beta.1
E
cat > go/main.go <<'E'
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"

	"github.com/cloudfoundry/go-cfclient/v3/client"
	"github.com/cloudfoundry/go-cfclient/v3/config"
)

func main() {
	token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":4102444800}`)) + ".e30"
	settings, err := config.New("http://127.0.0.1:"+os.Getenv("PORT"), config.Token(token, ""))
	if err != nil {
		panic(err)
	}
	cf, err := client.New(settings)
	if err != nil {
		panic(err)
	}
	_, err = cf.Applications.Get(context.Background(), "go")
	fmt.Printf("Go: \"%v\"\n", err)
}
E
( cd go && GOPATH="$folder/gopath" GOFLAGS='-mod=mod -modcacherw' go run . ) 2>go.log | tee -a seen || { cat go.log; exit 1; }
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
