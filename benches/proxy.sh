#!/usr/bin/env bash
# GET /v3/spaces (about 3 KB) through the broker and through nginx, to the same fake CF API.
#   benches/proxy.sh                 CPU per request with ratios, memory, instructions per request
#   benches/proxy.sh time            CPU only; needs a quiet machine
#   benches/proxy.sh instructions    callgrind only; other load does not change the result
#   benches/proxy.sh annotate        where the broker's instructions go
# The broker verifies the caller, checks the policy, rewrites links, logs a line and counts; nginx adds a fixed
# `Authorization`. The proxy under test has core 0 alone; load and fake share core 1. Compare only ratios within one run.
# Variables: ROUNDS (5), SECONDS_EACH (4), CONNECTIONS (16), FEW (2000) and MANY (12000) requests under callgrind (the
# costs of the start vary); REST=2: each connection waits this many milliseconds after each answer, so that both proxies
# get about the same number of requests. With REST=5 every log line is written: above 4000 a second lines are dropped.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-all} rounds=${ROUNDS:-5} span=${SECONDS_EACH:-4} connections=${CONNECTIONS:-16}
few=${FEW:-2000} many=${MANY:-12000}
PATH=$PATH:/usr/sbin

missing=()
for tool in nginx wrk jq curl taskset; do command -v "$tool" >/dev/null || missing+=("$tool"); done
[ "$mode" = time ] || command -v valgrind >/dev/null || missing+=(valgrind)
if [ ${#missing[@]} -gt 0 ]; then
  echo "not installed: ${missing[*]} (Debian: apt-get install nginx-light wrk jq curl util-linux valgrind)" >&2
  exit 1
fi

# The profile `bench` is a release with symbols. Only the landscape needs the feature `sandbox`; its profile does not matter.
cargo build --locked --quiet --profile bench --no-default-features --bin cfapi-broker
cargo build --locked --quiet --bin cfapi-broker
fake=$(cargo bench --locked --no-run --bench cf_fake --message-format=json |
  sed -n 's/.*"executable":"\([^"]*cf_fake[^"]*\)".*/\1/p' | tail -n 1)
target=${CARGO_TARGET_DIR:-target}
broker=$target/release/cfapi-broker landscape=$target/debug/cfapi-broker

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

taskset -c 1 "$fake" 0 >"$work/fake" 2>"$work/fake.err" &
started+=($!)
until_there "the fake" test -s "$work/fake"
cf=$(cat "$work/fake")
taskset -c 1 "$landscape" sandbox --landscape-only --json --port-base 0 >"$work/landscape" 2>"$work/landscape.err" &
started+=($!)
until_there "the landscape" test -s "$work/landscape"
landscape_value() { head -n 1 "$work/landscape" | jq -r ".$1"; }
token=$(landscape_value provider_token)
# The destination and the host pin name the fake instead of the sandbox's CF API.
curl -sf -o "$work/lever" -d "{\"name\":\"CFAPI\",\"set\":{\"URL\":\"$cf\"}}" "$(landscape_value levers)/edit_destination"
VCAP_SERVICES=$(landscape_value vcap_services)
VCAP_APPLICATION=$(landscape_value vcap_application | jq -c --arg cf "$cf" '.cf_api = $cf')
export VCAP_SERVICES VCAP_APPLICATION
# The whole load is one caller.
export CFAPI_AUTH__REQUESTS_PER_SECOND=100000 CFAPI_AUTH__BURST=1000000 CFAPI_AUTH__MAX_IN_FLIGHT=4096
export CFAPI_SERVER__ADDRESS=127.0.0.1

free_port() { shuf -i 20000-29999 -n 1; }
ask() { curl -s -o "$work/answer" -w '%{http_code}' -H "Authorization: Bearer $token" "$1/v3/spaces"; }
answers() { [ "$(ask "$1" 2>/dev/null)" = 200 ]; }

nginx_conf() { # NAME PORT
  cat >"$work/$1.conf" <<CONF
worker_processes 1; daemon off; master_process $3; pid $work/$1.pid; error_log $work/$1.err;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; client_body_temp_path $work; proxy_temp_path $work;
  fastcgi_temp_path $work; uwsgi_temp_path $work; scgi_temp_path $work;
  upstream cf { server ${cf#http://}; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:$2;
    location / {
      proxy_pass http://cf; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Authorization "bearer $token";
    }
  }
}
CONF
}

# The two proxies: start_NAME PORT [wrapper…] leaves the process id in $proxy.
start_nginx() {
  local port=$1; shift
  nginx_conf nginx "$port" off
  "$@" nginx -c "$work/nginx.conf" -p "$work" >"$work/nginx.out" 2>"$work/nginx.err" &
  proxy=$!
  started+=("$proxy")
}
start_broker() {
  local port=$1; shift
  PORT=$port "$@" "$broker" serve >/dev/null 2>"$work/broker.err" &
  proxy=$!
  started+=("$proxy")
}

# CPU time of a process in microseconds, user and system.
spent() { awk -v tick="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) * 1000000 / tick }' "/proc/$1/stat"; }
memory() { awk '/^VmRSS/ { print $2 / 1024 }' "/proc/$1/status"; }

pace=()
if [ -n "${REST:-}" ]; then
  echo "function delay() return $((REST)) end" >"$work/pace.lua"
  pace=(-s "$work/pace.lua")
fi

load() { # BASE → number of answered requests, p99; a status other than 200 ends the bench
  taskset -c 1 wrk "${pace[@]}" -t1 -c"$connections" -d"${span}s" --latency -H "Authorization: Bearer $token" "$1/v3/spaces" >"$work/wrk"
  if grep -qE 'Non-2xx|Socket errors' "$work/wrk"; then cat "$work/wrk" >&2; fail "not every answer was a 200"; fi
  awk '$2 == "requests" { n = $1 } $1 == "99%" { p = $2 } END { print n, p }' "$work/wrk"
}

measure_time() {
  declare -A id base
  for name in nginx broker; do
    port=$(free_port)
    "start_$name" "$port" taskset -c 0
    id[$name]=$proxy base[$name]="http://127.0.0.1:$port"
    until_there "$name" answers "${base[$name]}"
  done
  local idle; idle=$(memory "${id[broker]}")
  for round in $(seq 0 "$rounds"); do
    for name in nginx broker; do
      before=$(spent "${id[$name]}")
      read -r requests late < <(load "${base[$name]}")
      # The first round is the warm-up.
      [ "$round" = 0 ] || echo "$name $(spent "${id[$name]}") $before $requests $late $span"
    done
  done | awk '{ printf "%s %.2f %.0f %s\n", $1, ($2 - $3) / $4, $4 / $6, $5 }' >"$work/rounds"
  sort -k1,1 -k2,2n "$work/rounds" | awk '
    { cpu[$1, ++n[$1]] = $2; if ($3 > most[$1]) most[$1] = $3; late[$1] = late[$1] " " $4 }
    END {
      split("nginx broker", names)
      printf "%-8s %12s %12s %10s %10s %12s  %s\n", "proxy", "best us", "median us", "x nginx", "median x", "requests/s", "p99 by round"
      for (i = 1; i <= 2; i++) {
        name = names[i]; middle = int((n[name] + 1) / 2)
        printf "%-8s %12.1f %12.1f %10.2f %10.2f %12d %s\n", name, cpu[name, 1], cpu[name, middle],
          cpu[name, 1] / cpu["nginx", 1], cpu[name, middle] / cpu["nginx", middle], most[name], late[name]
      }
    }'
  printf 'broker: %.1f MB when idle, %.1f MB after the load\n' "$idle" "$(memory "${id[broker]}")"
}

count() { # NAME TIMES → instructions of the whole run
  local port; port=$(free_port)
  "start_$1" "$port" valgrind --quiet --tool=callgrind --callgrind-out-file="$work/$1.$2"
  until_there "$1" answers "http://127.0.0.1:$port"
  curl -sf -o "$work/answer" -H "Authorization: Bearer $token" "http://127.0.0.1:$port/v3/spaces#[1-$2]" >"$work/curl" ||
    fail "$1 stopped answering"
  kill "$proxy"
  wait "$proxy" || true
  awk '/^(summary|totals):/ { n = $2 } END { print n }' "$work/$1.$2"
}

measure_instructions() {
  for name in nginx broker; do
    # In this shell, so that `clean` knows the started processes.
    count "$name" "$few" >"$work/few"
    count "$name" "$many" >"$work/many"
    awk -v name="$name" -v few="$(cat "$work/few")" -v many="$(cat "$work/many")" -v n=$((many - few)) \
      'BEGIN { printf "%-8s %9.0f instructions per request\n", name, (many - few) / n }'
  done
}

annotate() {
  count broker "$many" >"$work/many"
  callgrind_annotate --auto=no --threshold=97 "$work/broker.$many" |
    awk -v times="$many" '/^ *[0-9,]+ \(/ && /:/ {
           n = $1; gsub(/,/, "", n); sub(/ \[[^\]]*\]$/, ""); sub(/^[^)]*\) */, ""); sub(/^[^ ]*\.[a-z]+:/, "")
           sum[$0] += n
         }
         END { for (name in sum) printf "%9.0f  %s\n", sum[name] / times, name }' | sort -rn | head -n "${TOP:-60}"
}

case $mode in
  all) measure_time; measure_instructions ;;
  time) measure_time ;;
  instructions) measure_instructions ;;
  annotate) annotate ;;
  *) fail "time, instructions, annotate or nothing" ;;
esac
