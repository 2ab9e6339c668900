#!/bin/sh
# Takes the README's demo output again: what `make demo` prints after building.
# usage: readme.sh [DIRECTORY OF THE PROGRAMS]
set -eu
cd "$(dirname "$0")/.."
out=$(mktemp)
trap 'rm -f "$out" "$out.md"' EXIT
"${1:-bin}/dpmip-lab" run hot-move --moves 3 --family 6 --redirect translated --addresses keep >"$out"
awk -v out="$out" '
	/^<!-- demo -->/ { print; print "```"; while ((getline line < out) > 0) print line; print "```"; skip = 1; next }
	/^<!-- \/demo -->/ { skip = 0 }
	!skip { print }
' README.md >"$out.md"
cat "$out.md" >README.md
