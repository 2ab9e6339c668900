// Package docscheck is a test: docs/operations.md names every TOML key, status,
// counter, metric, drop reason, command and exit code that the sources have,
// and no TOML key that they do not have.
//
// Most of it is read out of the sources with go/ast, because the rooms that
// have it may not be imported here.
package docscheck
