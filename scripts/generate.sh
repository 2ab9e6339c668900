#!/bin/sh
# Regenerates what is committed but generated: protobuf code and eBPF objects.
set -eu
cd "$(dirname "$0")/.."
mkdir -p bin/tools
go build -o bin/tools/ google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go
PATH="$PWD/bin/tools:$PATH" protoc -I api \
	--go_out=api --go_opt=paths=source_relative \
	--connect-go_out=api --connect-go_opt=paths=source_relative \
	api/dpmip/v1/dpmip.proto
go generate ./hwabstraction/... ./testbed/...
