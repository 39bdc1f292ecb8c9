#!/usr/bin/env bash
# Instructions and allocations per fresh lease, counted by callgrind. Other load on the machine does not change them.
#   benches/instructions.sh             prints a table
#   benches/instructions.sh annotate    shows where the instructions of `lease` go
set -euo pipefail
cd "$(dirname "$0")/.."
few=1000 many=11000

command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 1; }
program=$(cargo bench --locked --no-run --bench lease_instructions --message-format=json |
  sed -n 's/.*"executable":"\([^"]*lease_instructions[^"]*\)".*/\1/p' | tail -n 1)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# count WAY TIMES FILE: counts only `measured`.
count() {
  valgrind --quiet --tool=callgrind --collect-atstart=no --toggle-collect='lease_instructions::measured*' \
    --callgrind-out-file="$3" "$program" "$1" "$2" 2>"$3.log" || { cat "$3.log" >&2; exit 1; }
}

# The file writes a name once, then only its number: `fn=(12) name`, later `fn=(12)`.
total() { awk '/^(summary|totals):/ { n = $2 } END { print n }' "$1"; }
allocations() {
  awk '/^c?fn=/ {
         id = $1; sub(/^c?fn=/, "", id); name = $0
         if (sub(/^c?fn=\([0-9]+\) /, "", name)) names[id] = name
         called = names[id]
       }
       /^calls=/ && called ~ /^(malloc|calloc|realloc|posix_memalign|aligned_alloc)/ { sub(/^calls=/, "", $1); n += $1 }
       END { print n + 0 }' "$1"
}

if [ "${1:-}" = annotate ]; then
  count lease "$many" "$out/many"
  echo "instructions of $many leases, by function; inlined lines count for the function that holds them"
  callgrind_annotate --auto=no --threshold=100 "$out/many" |
    awk '/^ *[0-9,]+ \(/ && /:/ {
           n = $1; gsub(/,/, "", n); sub(/ \[[^\]]*\]$/, ""); sub(/^[^)]*\) */, ""); sub(/^[^ ]*\.[a-z]+:/, "")
           sum[$0] += n
         }
         END { for (name in sum) printf "%9d  %s\n", sum[name], name }' | sort -rn | head -n 20
  exit 0
fi

printf '%-22s %20s %20s\n' way instructions/lease allocations/lease
for way in load_full lease lease_by_equal_name; do
  count "$way" "$few" "$out/few"
  count "$way" "$many" "$out/many"
  awk -v way="$way" -v times=$((many - few)) \
    -v instructions=$(($(total "$out/many") - $(total "$out/few"))) \
    -v allocations=$(($(allocations "$out/many") - $(allocations "$out/few"))) \
    'BEGIN { printf "%-22s %20.1f %20.4f\n", way, instructions / times, allocations / times }'
done
