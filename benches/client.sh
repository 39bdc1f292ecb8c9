#!/usr/bin/env bash
# The two HTTP clients of `upstream`: instructions per GET (callgrind) and time per GET against a fake on loopback. The
# clients take turns; best and median of several rounds. Compare only ratios within one run.
set -euo pipefail
cd "$(dirname "$0")/.."
few=200 many=2200 timed=20000 rounds=${ROUNDS:-5}

built() {
  cargo bench --locked --no-run --bench "$1" --message-format=json |
    sed -n 's/.*"executable":"\([^"]*'"$1"'[^"]*\)".*/\1/p' | tail -n 1
}
fake=$(built cf_fake) client=$(built client_instructions)
out=$(mktemp -d)
taskset -c 1 "$fake" 0 >"$out/base" &
fake_id=$!
trap 'kill "$fake_id"; rm -rf "$out"' EXIT
until [ -s "$out/base" ]; do sleep 0.1; done
url="$(cat "$out/base")/v3/spaces"

count() {
  valgrind --quiet --tool=callgrind --callgrind-out-file="$out/$1.$2" "$client" "$1" "$2" "$url" 2>"$out/log" ||
    { cat "$out/log" >&2; exit 1; }
  awk '/^(summary|totals):/ { n = $2 } END { print n }' "$out/$1.$2"
}

if command -v valgrind >/dev/null; then
  for library in reqwest pooled; do
    awk -v library=$library -v few="$(count $library $few)" -v many="$(count $library $many)" -v n=$((many - few)) \
      'BEGIN { printf "%-8s %9.0f instructions per GET\n", library, (many - few) / n }'
  done
else
  echo "no instructions: valgrind is not installed" >&2
fi

now() { date +%s%N; }
for _ in $(seq "$rounds"); do
  for library in reqwest pooled; do
    begun=$(now)
    taskset -c 0 "$client" "$library" "$timed" "$url"
    echo "$library $((($(now) - begun) / timed))"
  done
done | sort -k1,1 -k2,2n | awk '
  { times[$1, ++count[$1]] = $2 }
  END { for (library in count)
    printf "%-8s %9d ns per GET at best, %d in the median\n", library, times[library, 1], times[library, int((count[library] + 1) / 2)] }'
