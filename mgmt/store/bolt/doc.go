// Package bolt keeps the management node's records in one bbolt file: a bucket
// a kind, and a bucket "schema" with the version.
package bolt
