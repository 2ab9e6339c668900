#!/bin/sh
# Proves that committed generated files are what their sources give: works on a
# copy of the tree, so that nothing here changes.
set -eu
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy" --
(cd "$copy" && sh scripts/generate.sh)
bad=0
for f in $(git ls-files '*.pb.go' '*.connect.go' '*_bpfel.go' '*_bpfel.o'); do
	cmp -s "$f" "$copy/$f" || { echo "$f differs from what make generate gives" >&2; bad=1; }
done
exit $bad
