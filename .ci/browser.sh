#!/usr/bin/env bash
# People in a browser, see tests/browser/README.md. Chromium and a font come from the system (Debian: they are installed if
# they are missing), packages from the npm registry into target.
set -euo pipefail
for tool in node npm; do command -v "$tool" >/dev/null || { echo "$tool is needed, see tests/browser/README.md"; exit 1; }; done
if ! command -v chromium >/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "chromium is needed, see tests/browser/README.md"; exit 1; }
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
fi
cargo build -q --locked
bash tests/npm.sh browser clients/{node22,approuter,approuter20}
node --test --test-reporter=spec --test-concurrency=2 tests/browser/*.test.mjs
