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
# Runs without cfapi-broker, in a folder of its own. Needs Python 3, a JDK 17, Maven and Go 1.23 or newer, and their
# registries. Fails if the output differs from the above.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"

cat > server.py <<'E'
import http.server, json
PROBLEM = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "Ask the operator for a role."}
ERRORS = [{"code": 10003, "title": "CF-NotAuthorized", "detail": "Ask the operator for a role."}]
class Gateway(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        base = "http://127.0.0.1:%d" % self.server.server_port
        links = {name: {"href": base + path} for name, path in (("cloud_controller_v3", "/v3"), ("login", ""), ("uaa", ""))}
        problem = dict(PROBLEM, errors=ERRORS) if "with-errors" in self.path else PROBLEM
        status, kind, answer = (200, "json", {"links": links}) if self.path == "/" else (403, "problem+json", problem)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/" + kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
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
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cloudfoundry/go-cfclient/v3/client"
	"github.com/cloudfoundry/go-cfclient/v3/config"
	"github.com/cloudfoundry/go-cfclient/v3/resource"
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
	for _, app := range []string{"without-errors", "with-errors"} {
		_, err := cf.Applications.Get(context.Background(), app)
		var unknown resource.CloudFoundryHTTPError
		kept := errors.As(err, &unknown) && strings.Contains(string(unknown.Body), "Ask the operator for a role.")
		fmt.Printf("Go, %s: \"%v\", body kept: %v\n", app, err, kept)
	}
}
E
( cd go && GOPATH="$folder/gopath" GOFLAGS='-mod=mod -modcacherw' go run . ) 2>go.log | tee -a seen || { cat go.log; exit 1; }

diff seen - <<'E'
Java, without-errors: ClientV3Exception, 403, ""
Java, with-errors: ClientV3Exception, 403, "CF-NotAuthorized(10003): Ask the operator for a role."
Go, without-errors: "error executing GET request for /v3/apps/without-errors: cfclient: HTTP error (403): 403 Forbidden", body kept: true
Go, with-errors: "error executing GET request for /v3/apps/with-errors: cfclient error (CF-NotAuthorized|10003): Ask the operator for a role.", body kept: false
E
echo "as described"
