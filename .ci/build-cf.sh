#!/usr/bin/env bash
# Builds the binary for Cloud Foundry into target/cf: for glibc 2.28 or newer, without sandbox. The folder holds nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .zig/bin/cargo-zigbuild ] || { python3 -m venv .zig && .zig/bin/pip install -q ziglang==0.17.1 cargo-zigbuild==0.24.0; }
PATH="$PWD/.zig/bin:$PATH" cargo zigbuild --release --locked --no-default-features --target x86_64-unknown-linux-gnu.2.28
bash .ci/glibc.sh target/x86_64-unknown-linux-gnu/release/cfapi-broker 2.28
mkdir -p target/cf
install -m 0755 target/x86_64-unknown-linux-gnu/release/cfapi-broker target/cf/cfapi-broker
