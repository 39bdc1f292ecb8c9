#!/usr/bin/env bash
# Real clients against broker and sandbox: tests/clients/README.md. Packages come from the registries into target/clients.
set -euo pipefail
cargo build -q --locked
bash tests/clients/install.sh
node --test --test-reporter=spec tests/clients/cap/subscribe.test.mjs
node --test --test-reporter=spec tests/clients/approuter/zones.test.mjs
node --test --test-reporter=spec tests/clients/capi/clients.test.mjs
