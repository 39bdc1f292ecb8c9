#!/usr/bin/env bash
# Real clients with broker and sandbox, see tests/clients/README.md. Packages go from the registries into target/clients.
set -euo pipefail
for tool in node npm python3 go java mvn; do
  command -v "$tool" >/dev/null || { echo "$tool is needed, see tests/clients/README.md"; exit 1; }
done
cargo build -q --locked
bash tests/clients/install.sh
# Writes the corpus of tokens, with the decisions of the broker, for the oracles.
cargo test -q --locked --test it callers::each_token_of_the_corpus
node --test --test-reporter=spec tests/clients/oracles/oracles.test.mjs
node --test --test-reporter=spec tests/clients/cap/subscribe.test.mjs
node --test --test-reporter=spec tests/clients/approuter/zones.test.mjs
node --test --test-reporter=spec tests/clients/approuter/login.test.mjs
node --test --test-reporter=spec tests/clients/capi/clients.test.mjs
node --test --test-reporter=spec tests/clients/pooling/pooling.test.mjs
