#!/bin/sh
# Runs every fuzz target for a while. usage: fuzz.sh DURATION
#
# Where its time runs out in the middle of an input, Go's fuzzing engine may call
# that a failure (go.dev/issue/75804): "context deadline exceeded" and nothing
# else, no input written. That says nothing of the target, which is run again; an
# input that really hangs does so each time.
set -eu
cd "$(dirname "$0")/.."
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# fuzz DIR TARGET DURATION
fuzz() {
	go test "./$1" -run xxx -fuzz "^$2\$" -fuzztime "$3" -parallel 2 >"$out" 2>&1
}

# cut_short: the output is that of an engine which failed by its own deadline.
cut_short() {
	grep -qx '    context deadline exceeded' "$out" && ! grep -qE 'Failing input|panic|_test.go:' "$out"
}

n=0
for dir in $(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do
	for target in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/func //'); do
		for try in 1 2 3; do
			fuzz "$dir" "$target" "${1:-3s}" && break
			[ "$try" -lt 3 ] && cut_short || { cat "$out"; exit 1; }
			echo "$dir $target: the engine's deadline fell into an input; again"
		done
		n=$((n + 1))
	done
done
[ "$n" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "$n fuzz targets, nothing found"
