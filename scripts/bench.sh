#!/bin/sh
# Measures every ratio and limit, and writes out/bench.json and the table of
# docs/benchmarks.md. usage: bench.sh [quick|long|GROUP,GROUP...]
# quick and single groups leave the document alone.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "make bench makes network namespaces: run it as root" >&2; exit 1; }
make --no-print-directory arm64
mkdir -p out
case "${1:-}" in
"") exec bin/dpmip-lab bench --json out/bench.json --document docs/benchmarks.md ;;
quick) exec bin/dpmip-lab bench --json out/bench.json --quick ;;
long) exec bin/dpmip-lab bench --json out/bench-long.json --long ;;
*) exec bin/dpmip-lab bench --json out/bench.json --only "$1" ;;
esac
