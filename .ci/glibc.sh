#!/usr/bin/env bash
# glibc.sh BINARY MAX: fails if BINARY needs a newer glibc than MAX, or a library that is missing in the container.
set -euo pipefail
binary=$1 max=$2
command -v objdump >/dev/null || { apt-get update -qq && apt-get install -y -qq binutils >/dev/null; }
need=$(objdump -T "$binary" | grep -oE 'GLIBC_[0-9]+(\.[0-9]+)+' | sed 's/GLIBC_//' | sort -Vu | tail -n 1)
if [ "$(printf '%s\n%s\n' "$need" "$max" | sort -V | tail -n 1)" != "$max" ]; then
  echo "$binary needs glibc $need, allowed is $max"; exit 1
fi
foreign=$(readelf -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
  grep -vE '^(libc|libm|libdl|libpthread|librt|libgcc_s)\.so|^ld-linux' || true)
if [ -n "$foreign" ]; then echo "$binary needs foreign libraries: $foreign"; exit 1; fi
echo "$binary: glibc $need (allowed $max), no foreign library"
