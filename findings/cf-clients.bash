# Shared by the scripts about clients of the CF API: a folder of its own, a server that answers as the script says, and the
# clients in Java and Go. A script sources it first and works in the folder from then on.
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"
mkdir java go

# Starts the server, at $PORT. The input is Python with `answer(path)`: status, content type, and what is sent as JSON. At /
# stand the links of a CF API.
serve() {
  cat > answers.py
  cat > server.py <<'E'
import http.server, json
from answers import answer
class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        base = "http://127.0.0.1:%d" % self.server.server_port
        links = {name: {"href": base + path} for name, path in (("cloud_controller_v3", "/v3"), ("login", ""), ("uaa", ""))}
        status, kind, sent = (200, "json", {"links": links}) if self.path == "/" else answer(self.path)
        body = json.dumps(sent).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/" + kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
print(server.server_port, flush=True)
server.serve_forever()
E
  python3 server.py > port & server=$!
  until [ -s port ]; do sleep 0.1; done
  PORT=$(cat port)
  export PORT
}

# Runs a Java program, the input, with the client for Java. What it prints is added to the file `seen`.
run_java() {
  cat > java/Show.java
  cat > java/pom.xml <<'E'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>finding</groupId><artifactId>java</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.cloudfoundry</groupId><artifactId>cloudfoundry-client-reactor</artifactId><version>5.15.0.RELEASE</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>2.0.9</version></dependency>
  </dependencies>
</project>
E
  mvn -q -B -f java/pom.xml -Dmaven.repo.local="$folder/maven" -DoutputDirectory="$folder/java/lib" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies >maven.log 2>&1 || { cat maven.log; exit 1; }
  java -cp 'java/lib/*' java/Show.java | tee -a seen
}

# Runs a Go program, the input, with the client for Go; its `connect()` returns a client of the server. What it prints is
# added to the file `seen`.
run_go() {
  cat > go/main.go
  cat > go/go.mod <<'E'
module finding

go 1.23.0

require github.com/cloudfoundry/go-cfclient/v3 v3.0.0-beta.1
E
  cat > go/connect.go <<'E'
package main

import (
	"encoding/base64"
	"os"

	"github.com/cloudfoundry/go-cfclient/v3/client"
	"github.com/cloudfoundry/go-cfclient/v3/config"
)

func connect() *client.Client {
	token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":4102444800}`)) + ".e30"
	settings, err := config.New("http://127.0.0.1:"+os.Getenv("PORT"), config.Token(token, ""))
	if err != nil {
		panic(err)
	}
	cf, err := client.New(settings)
	if err != nil {
		panic(err)
	}
	return cf
}
E
  ( cd go && GOPATH="$folder/gopath" GOFLAGS='-mod=mod -modcacherw' go run . ) 2>go.log | tee -a seen || { cat go.log; exit 1; }
}
