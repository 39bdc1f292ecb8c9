#!/usr/bin/env bash
# A million inputs for each property of what strangers send (S11, S26): first made to fit by proptest, then found by
# libFuzzer. Any stable compiler has the coverage hooks that it needs; nothing is to be installed but a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${FUZZ_RUNS:-1000000}
PROPTEST_CASES=$runs cargo test -q --profile fuzz --locked --lib -- auth::tests::robustness http::test_harness

if ! command -v c++ >/dev/null; then echo "skipped: no c++ for libFuzzer"; exit 0; fi
host=$(rustc -vV | sed -n 's/^host: //p')
# The same versions as the broker's own build, whatever has changed there.
cp Cargo.lock fuzz/Cargo.lock
hooks="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
hooks+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
RUSTFLAGS=$hooks cargo build -q --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir target/fuzz
for target in path:path token:json jose:json jwks:json; do
  name=${target%:*} found=target/fuzz/found/${target%:*} log=target/fuzz/${target%:*}.log
  mkdir -p "$found"
  "target/fuzz/$host/release/$name" -runs="$runs" -dict="fuzz/${target#*:}.dict" -artifact_prefix="$found/" \
    "$found" "fuzz/seeds/$name" >"$log" 2>&1 || { tail -n 40 "$log"; exit 1; }
  grep -q "^Done $runs runs" "$log" || { tail -n 20 "$log"; exit 1; }
  echo "$name: $(grep -o 'cov: [0-9]*' "$log" | tail -n 1), $(grep '^Done' "$log")"
done
