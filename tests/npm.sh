#!/usr/bin/env bash
# Installs the npm packages of the lock files in these folders of `tests` into the same folders of `target`, if they are
# missing or outdated. Several are under the SAP Developer License, so they are neither committed nor shipped.
set -euo pipefail
cd "$(dirname "$0")/.."
for folder in "$@"; do
  from=tests/$folder to=target/$folder
  if cmp -s "$from/package-lock.json" "$to/installed.json"; then continue; fi
  mkdir -p "$to"
  rm -f "$to/installed.json"
  cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$to/"
  # No install scripts: nothing is compiled, and everything comes from the registry.
  ( cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error )
  cp "$from/package-lock.json" "$to/installed.json"
done
