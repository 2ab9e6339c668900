#!/bin/sh
# Everything that must hold. usage: test.sh [long]
# Ends with what failed and one line that counts, and fails if anything did.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "make test makes network namespaces: run it as root" >&2; exit 1; }
export CGO_ENABLED=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
snapshot=$tmp/snapshot
go run ./internal/guard/leftovers take "$snapshot"
passed=0
failed=0
step() { # name command...
	name=$1
	shift
	start=$(date +%s)
	echo "=== $name"
	{ "$@" 2>&1 && touch "$tmp/ok"; } | tee "$tmp/log"
	if rm "$tmp/ok" 2>/dev/null; then
		passed=$((passed + 1))
		echo "--- ok: $name ($(($(date +%s) - start)) s)"
	else
		failed=$((failed + 1))
		echo "--- FAILED: $name"
		{ echo "=== $name: what it said"; reasons; } >>"$tmp/failed"
	fi
}
reasons() { # the lines of the step's log that tell of failures, or its end
	grep -E '^ *(--- FAIL|FAIL|panic:|fatal error:|[a-z0-9_]+\.go:[0-9]+:)|DATA RACE|[Ee]rror|not ok' "$tmp/log" >"$tmp/why" || cp "$tmp/log" "$tmp/why"
	tail -n 40 "$tmp/why"
}
if [ "${1:-}" = long ]; then
	step "build" make --no-print-directory build
	step "full matrix" bin/dpmip-lab matrix --full
	step "simulator, long" go test ./testbed/sim -run TestSchedules -count 1 -timeout 0 -seeds 20000
	step "faults, programs dead for minutes" go test ./testbed/faults -count 1 -timeout 90m -args -long
	step "FRR, long" go test ./testbed/peers/frr -count 1 -timeout 30m -args -long
	step "two data centres, long" go test ./testbed/sites -count 1 -timeout 30m -args -long
	step "fuzzing, long" sh scripts/fuzz.sh 60s
	step "firmware and its updates" make --no-print-directory firmware-check
	step "release" make --no-print-directory release-check
else
	step "build" make --no-print-directory build
	step "lint" sh scripts/lint.sh
	step "arm64, static" sh scripts/arm64.sh
	step "generated files" go run ./internal/guard/generated
	# One package at a time: on two cores labs beside each other would count each other's load.
	step "tests" go test -count 1 -p 1 -timeout 30m ./...
	step "fuzzing" sh scripts/fuzz.sh 3s
	step "matrix" bin/dpmip-lab matrix
	step "renumber" bin/dpmip-lab run renumber
	step "sabotage" bin/dpmip-lab sabotage
	step "arm64 testbed" make --no-print-directory testbed-arm64
	step "netdevsim" make --no-print-directory testbed-netdevsim
	step "nothing left over" go run ./internal/guard/leftovers check "$snapshot"
fi
[ "$failed" = 0 ] || cat "$tmp/failed"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
