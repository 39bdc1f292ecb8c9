#!/usr/bin/env bash
# Tools that read docs/openapi.json, see tests/api/README.md. Packages go from the registries into target/api.
set -euo pipefail
for tool in node npm python3 java mvn; do
  command -v "$tool" >/dev/null || { echo "$tool is needed, see tests/api/README.md"; exit 1; }
done
cargo build -q --locked
from=$PWD/tests/api to=$PWD/target/api
bash tests/npm.sh api
if ! cmp -s "$from/requirements.txt" "$to/installed.txt"; then
  rm -rf "$to/venv" "$to/installed.txt"
  python3 -m venv "$to/venv"
  "$to/venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: -r "$from/requirements.txt"
  cp "$from/requirements.txt" "$to/installed.txt"
fi
if ! cmp -s "$from/java/checksums.txt" "$to/java/installed.txt"; then
  rm -rf "$to/java"
  mkdir -p "$to/java"
  mvn -q -B --strict-checksums -f "$from/java/pom.xml" -Dmaven.repo.local="$to/maven" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$to/java/lib"
  mvn -q -B --strict-checksums -f "$from/java/pom.xml" -Dmaven.repo.local="$to/maven" dependency:copy-dependencies \
    -DincludeScope=provided -DexcludeTransitive=true -DoutputDirectory="$to/java/generator"
  ( cd "$to/java" && sha256sum --quiet --strict -c "$from/java/checksums.txt" )
  cp "$from/java/checksums.txt" "$to/java/installed.txt"
fi
cd "$to"
# The same commands stand in docs/how-to/generate-a-client.md.
cp "$from"/{client.ts,tsconfig.json} .
node_modules/.bin/openapi-typescript ../../docs/openapi.json -o schema.d.ts >/dev/null
node_modules/.bin/tsc -p tsconfig.json
rm -rf java/generated java/classes
java -jar java/generator/openapi-generator-cli-*.jar generate -g java --library native -i ../../docs/openapi.json \
  -o java/generated --additional-properties=invokerPackage=cfapi,apiPackage=cfapi.api,modelPackage=cfapi.model,openApiNullable=false,enumUnknownDefaultCase=true \
  >java/generator.log 2>&1 || { tail -n 40 java/generator.log; exit 1; }
javac -nowarn -cp 'java/lib/*' -d java/classes $(find java/generated/src/main -name '*.java') "$from/java/Client.java"
node "$from/run.mjs"
