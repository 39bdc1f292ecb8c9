#!/usr/bin/env bash
# Refused callers and the next request on their connection: Python's http.client, and a pooling proxy in
# Go if Go is there. Needs the debug build with the sandbox (or BIN).
set -euo pipefail
cd "$(dirname "$0")/../../.."
: "${BIN:=target/debug/cfapi-broker}"
work=$(mktemp -d)
"$BIN" sandbox --json --port-base 0 > "$work/landscape" 2> "$work/log" &
sandbox=$!
trap 'kill $sandbox 2>/dev/null || true; wait $sandbox 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do [ -s "$work/landscape" ] && break; sleep 0.1; done
member() { head -1 "$work/landscape" | python3 -c "import json,sys; print(json.load(sys.stdin)['$1'])"; }
broker=$(member broker) token=$(member provider_token)
python3 tests/clients/pooling/early.py "$broker" "$token"
if command -v go > /dev/null; then
  (cd tests/clients/pooling && GOFLAGS=-mod=mod GOCACHE="${GOCACHE:-$work/go}" go run . "$broker" "$token")
else
  echo "go is not there: the pooling proxy was not run"
fi
