// Package boltfile opens bbolt files so that one that is held, truncated or
// damaged is an error that names it, never a hang or a crash.
package boltfile
