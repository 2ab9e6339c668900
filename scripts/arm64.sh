#!/bin/sh
# Cross-builds every program for arm64 and checks that each is static, and the
# agent small enough for a card.
set -eu
cd "$(dirname "$0")/.."
make --no-print-directory arm64
for f in bin/arm64/*; do
	# ELF64, little endian; e_machine 0x00b7 = AArch64
	[ "$(od -An -tx1 -j18 -N2 "$f" | tr -d ' ')" = b700 ] || { echo "$f is not an arm64 program" >&2; exit 1; }
	if grep -qa '/lib/ld-linux-aarch64' "$f"; then
		echo "$f is not static" >&2
		exit 1
	fi
done
size=$(wc -c <bin/arm64/dpmip-agent)
[ "$size" -le 16777216 ] || { echo "dpmip-agent has $size bytes, want at most 16 MiB" >&2; exit 1; }
echo "dpmip-agent for arm64: $size bytes"
