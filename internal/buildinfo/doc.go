// Package buildinfo tells which build is running.
package buildinfo
