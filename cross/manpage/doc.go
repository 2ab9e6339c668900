// Package manpage turns what programs print about themselves (the -h of Go's
// flag package, the --help of cobra) into man pages: one truth, and the same
// bytes for the same program.
package manpage
