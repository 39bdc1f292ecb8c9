#!/usr/bin/env bash
# Runs what a newcomer runs: the first command of the README, then exactly the calls that it prints.
set -euo pipefail
command -v curl >/dev/null || { apt-get update -qq && apt-get install -y -qq curl >/dev/null; }
grep -qx 'cargo run -- sandbox' README.md
cargo build -q
out=$(mktemp) calls=$(mktemp) answers=$(mktemp)
cargo run -q -- sandbox >"$out" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; rm -f "$out" "$calls" "$answers"' EXIT
for _ in $(seq 100); do grep -q 'Ctrl-C' "$out" && break; sleep 0.2; done
grep -E '^  (TOKEN=|curl )' "$out" | sed 's/^  //' >"$calls" || true
if [ "$(wc -l <"$calls")" -lt 5 ]; then echo "the sandbox printed no calls:"; cat "$out"; exit 1; fi
sh "$calls" >"$answers"
check() { grep -q -- "$1" "$answers" || { echo "smoke: no $1 in:"; cat "$answers"; exit 1; }; }
check '"outcome":"created"'
check '"total":1'
check '^204$'
check '"grant_type":"password"'
check 'Basic Y2Y6'
[ "$(grep -o '"grant_type":"password"' "$answers" | wc -l)" = 1 ] || { echo "smoke: not one password grant"; exit 1; }
# The broker may be a child of cargo's process. Ctrl-C in a terminal reaches both.
broker=$(pgrep -P "$pid" -x cfapi-broker || echo "$pid")
kill -INT "$broker"
code=0; wait "$pid" || code=$?
[ "$code" = 0 ] || { echo "smoke: Ctrl-C ended with $code"; exit 1; }
echo "smoke: created, listed, deleted, one password grant, clean end"
