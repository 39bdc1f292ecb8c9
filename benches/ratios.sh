#!/usr/bin/env bash
# Runs the bench `token` and adds a ratio to each time: to a bare pointer load with the same number of threads, or to a
# renewal with one waiting task. Compare only ratios within one run. Arguments go to criterion.
set -euo pipefail
cd "$(dirname "$0")/.."
results=${CARGO_TARGET_DIR:-target}/criterion

# Criterion prints whole nanoseconds; its files hold the fractions.
median() { sed -n 's/.*"median":{[^}]*},"point_estimate":\([0-9.e+-]*\).*/\1/p' "$results/$1/new/estimates.json"; }

cargo bench --locked --bench token -- --output-format bencher "$@" |
  awk '/ bench: / { print $2 }' |
  while read -r name; do echo "$name $(median "$name")"; done |
  awk '{
         order[++n] = $1; times[$1] = $2; split($1, part, "/")
         if (part[2] == "load_full") base[part[1] "/" part[3]] = $2
         if (part[1] == "renewal" && part[3] == 1) base["renewal"] = $2
       }
       END {
         printf "%-36s %14s %9s\n", "what", "median ns", "ratio"
         for (i = 1; i <= n; i++) {
           name = order[i]; split(name, part, "/")
           to = part[1] == "renewal" ? base["renewal"] : base[part[1] "/" part[3]]
           printf "%-36s %14.1f %9s\n", name, times[name], to ? sprintf("%.2f", times[name] / to) : "-"
         }
       }'
