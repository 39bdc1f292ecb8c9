#!/usr/bin/env bash
# `/spaces` in a landscape of 2,000 spaces and 5,000 tenant routes whose CF API takes 50 ms for each call.
#   benches/spaces.sh
# First byte: beside a client that makes the same calls of the CF API (first pages, then later pages, side by side) and
# does nothing with the answers. Repeated views: within the 5 s that a read serves, for a page and for JSON with all rows.
# 200 viewers: the calls of the CF API that they cost. Memory: before the first and after the last view.
# The broker has core 0, landscape and clients share core 1. Compare only ratios within one run.
# Variables: ROUNDS (7), VIEWS (1000), SPACES (2000), ROUTES (5000), LATENCY (50).
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-7} views=${VIEWS:-1000} spaces=${SPACES:-2000} routes=${ROUTES:-5000} latency=${LATENCY:-50}

for tool in jq curl taskset gzip; do
  command -v "$tool" >/dev/null || { echo "not installed: $tool (Debian: apt-get install jq curl util-linux gzip)" >&2; exit 1; }
done

# One build for both: the landscape must be fast as well.
cargo build --locked --quiet --profile bench --bin cfapi-broker
broker=${CARGO_TARGET_DIR:-target}/release/cfapi-broker

work=$(mktemp -d)
started=()
clean() {
  for id in "${started[@]}"; do kill "$id" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
fail() { echo "$*" >&2; exit 1; }
# until_there WHAT COMMAND…: tries every 0.1 s, for a minute.
until_there() {
  local what=$1; shift
  for _ in $(seq 600); do "$@" && return; sleep 0.1; done
  fail "$what did not start; see $(cat "$work"/*.err)"
}

taskset -c 1 "$broker" sandbox --landscape-only --json --port-base 0 >"$work/landscape" 2>"$work/landscape.err" &
started+=($!)
until_there "the landscape" test -s "$work/landscape"
value() { head -n 1 "$work/landscape" | jq -r ".$1"; }
lever() { curl -sf -d "$2" "$(value levers)/$1"; }
P=cfapi-broker.internal
lever fill "$(jq -nc --arg p "$P" --argjson spaces "$spaces" --argjson routes "$routes" '{
  spaces: $spaces, apps: $spaces, routes: $routes,
  labels: {"\($p)/managed-by": "cfapi-broker", "\($p)/owner": "0123456789abcdef0123456789abcdef", "\($p)/tenant": "t{n}"},
  annotations: {"\($p)/owner-id": "sb-bookshop!t4711", "\($p)/tenant-id": "t{n}", "\($p)/subdomain": "tenant-{n}"}}')" >/dev/null
lever latency "{\"part\":\"cf\",\"ms\":$latency}" >/dev/null
token=$(lever caller_token '{"client":"sb-viewer!t1","scopes":["Spaces.Read"]}' | jq -r .access_token)

VCAP_SERVICES=$(value vcap_services) VCAP_APPLICATION=$(value vcap_application)
export VCAP_SERVICES VCAP_APPLICATION
# As in manifest.yml and mta.yaml.
export MALLOC_MMAP_THRESHOLD_=131072
# The whole load is one caller.
export CFAPI_AUTH__REQUESTS_PER_SECOND=100000 CFAPI_AUTH__BURST=1000000 CFAPI_AUTH__MAX_IN_FLIGHT=4096
port=$(shuf -i 20000-29999 -n 1)
base=http://127.0.0.1:$port
CFAPI_SERVER__ADDRESS=127.0.0.1 PORT=$port taskset -c 0 "$broker" serve >/dev/null 2>"$work/broker.err" &
proxy=$!
started+=("$proxy")
until_there "the broker" curl -sf -o /dev/null "$base/health"

ask() { taskset -c 1 curl -sf -H "Authorization: Bearer $token" "$@"; }
memory() { awk '/^VmRSS/ { print $2 / 1024 }' "/proc/$proxy/status"; }
# The broker logs on, and its code is warm; no list is read.
ask -o /dev/null "$base/spaces/00000000-0000-4000-8000-000000000000" || true
idle=$(memory)

cf=$(value cf_api)
cf_token=$(curl -sf -u cf: "$(value uaa)/oauth/token" -d grant_type=password --data-urlencode username=technical.user@example.test \
  --data-urlencode 'password=sandbox-only-p&ss w=rd%ü' --data-urlencode 'login_hint={"origin":"sandbox-platform"}' | jq -r .access_token)
pages() { echo $((($1 + 999) / 1000)); }
list() { # PAGE COUNT-OF-ROWS PATH-AND-QUERY: the URL of this page, if there is one
  [ "$1" -gt "$(pages "$2")" ] || echo "url = \"$cf/v3/$3&per_page=1000&page=$1\""
}
lists() { # PAGE
  list "$1" $((spaces + 2)) 'spaces?include=organization&order_by=name'
  list "$1" "$routes" "routes?label_selector=$P%2Fmanaged-by%3Dcfapi-broker%2C$P%2Ftenant"
  list "$1" $((spaces + 3)) 'apps?order_by=name'
}
lists 1 >"$work/first"
for page in $(seq 2 "$(pages $((routes > spaces ? routes : spaces)))"); do lists "$page"; done >"$work/later"
slowest() { # FILE: milliseconds of the slowest of these calls, all at once
  taskset -c 1 curl -sfZ --no-progress-meter --parallel-max 16 --parallel-immediate -H "Authorization: bearer $cf_token" -K "$1" \
    -w '%{time_total}\n' | sort -n | tail -n 1 | awk '{ print $1 * 1000 }'
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# Each URL needs an `output` of its own.
sed 's/$/\noutput = "\/dev\/null"/' -i "$work/first" "$work/later"

for _ in $(seq "$rounds"); do
  # What was read serves for 5 s.
  sleep 5.2
  ask -o /dev/null -w '%{time_starttransfer}\n' "$base/spaces" | awk '{ print $1 * 1000 }' >>"$work/cold"
  awk -v one="$(slowest "$work/first")" -v two="$(slowest "$work/later")" 'BEGIN { print one + two }' >>"$work/chain"
done
cold=$(memory)
awk -v cold="$(median <"$work/cold")" -v chain="$(median <"$work/chain")" \
  'BEGIN { printf "first byte %.0f ms, the calls of the CF API %.0f ms: %.2f x\n", cold, chain, cold / chain }'

repeated() { # NAME ACCEPT QUERY
  sleep 5.2
  ask -o /dev/null "$base/spaces"
  local urls=()
  for _ in $(seq "$views"); do urls+=(-o /dev/null "$base/spaces?$3"); done
  ask -m 4 -H "Accept: $2" -w '%{time_total}\n' "${urls[@]}" | sort -n | awk -v name="$1" '
    { v[NR] = $1 * 1000 } END { printf "%s, %d views: median %.2f ms, p99 %.2f ms\n", name, NR, v[int((NR + 1) / 2)], v[int(NR * 0.99)] }'
}
repeated "page of 100 rows" text/html "page=1"
repeated "JSON of 100 rows" application/json "page=1"
repeated "JSON of all rows" application/json ""

sleep 5.2
curl -sf -X DELETE "$(value levers)/journal" >/dev/null
urls=()
for _ in $(seq 200); do urls+=(-o /dev/null "$base/spaces"); done
ask -Z --no-progress-meter --parallel-max 200 --parallel-immediate -w '%{http_code}\n' "${urls[@]}" | sort | uniq -c | awk '{ printf "200 viewers at once: %s answers %s, ", $1, $2 }'
curl -sf "$(value levers)/journal" | jq -r '[.requests[] | select(.part == "cf") | .path] | length' |
  awk -v set="$(cat "$work/first" "$work/later" | grep -c '^url')" '{ printf "%s calls of the CF API, one set is %s\n", $1, set }'

ask -H 'Accept: text/html' "$base/spaces" >"$work/page"
printf 'page: %d bytes, gzipped %d\n' "$(wc -c <"$work/page")" "$(gzip -c "$work/page" | wc -c)"
awk -v idle="$idle" -v cold="$cold" -v now="$(memory)" 'BEGIN {
  printf "memory: %.1f MB, + %.1f MB after the first views, + %.1f MB after all\n", idle, cold - idle, now - idle }'
