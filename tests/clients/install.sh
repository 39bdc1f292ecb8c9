#!/usr/bin/env bash
# Installs the packages of the lock files in these folders into target/clients, if they are missing or outdated, and builds
# the programs in Go and Java. All is only for these tests, and stays in `target`.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash tests/npm.sh clients/{node22,cap/cds9,cap/cds10,approuter,approuter20,capi,oracles}
for folder in capi oracles; do
  from=tests/clients/$folder to=target/clients/$folder
  if cmp -s "$from/requirements.txt" "$to/installed.txt"; then continue; fi
  rm -rf "$to/venv" "$to/installed.txt"
  python3 -m venv "$to/venv"
  "$to/venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: -r "$from/requirements.txt"
  cp "$from/requirements.txt" "$to/installed.txt"
done
# Go checks each module against go.sum.
to=$PWD/target/clients/go
( cd tests/clients/go && GOPATH=$to GOMODCACHE=$to/mod GOCACHE=$to/cache GOFLAGS="-mod=readonly -modcacherw" \
  go build -buildvcs=false -o "$to/bin/" ./... )
from=tests/clients/java to=target/clients/java
if ! cmp -s "$from/checksums.txt" "$to/installed.txt"; then
  rm -rf "$to"
  mvn -q -B --strict-checksums -f "$from/pom.xml" -Dmaven.repo.local="$PWD/target/clients/maven" \
    -DoutputDirectory="$PWD/$to/lib" dependency:copy-dependencies
  ( cd "$to/lib" && sha256sum --quiet --strict -c "$OLDPWD/$from/checksums.txt" )
  # Exactly these files.
  diff <(ls "$to/lib") <(sed 's/.* //' "$from/checksums.txt")
  cp "$from/checksums.txt" "$to/installed.txt"
fi
javac -cp "$to/lib/*" -d "$to/classes" "$from/Client.java"
