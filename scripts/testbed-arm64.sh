#!/bin/sh
# What a card must be able to do, on emulated ones: unit tests as arm64 programs,
# then the firmware image in a machine with the lab as its payload.
# usage: testbed-arm64.sh [REGEXP of the steps to run in the machine]
# Every result is in out/testbed, a JSON line each; see docs/lab.md.
set -eu
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
start=$(date +%s)
if [ -z "${1:-}" ]; then
	# The interpreter is named: nothing is registered with this machine's kernel.
	GOARCH=arm64 DPMIP_KILLTEST_VIA=qemu-aarch64-static go test -exec qemu-aarch64-static -count 1 -timeout 15m \
		./mobility/... ./agent/bul ./hwabstraction/nicmem ./offload/...
	DPMIP_TESTBED=1 go test ./testbed/qemu -run 'TestTestbed' -count 1 -v -timeout 40m
else
	DPMIP_TESTBED=1 go test ./testbed/qemu -run 'TestTestbed$' -count 1 -v -timeout 40m -steps "$1"
fi
echo "testbed: $(($(date +%s) - start)) s"
