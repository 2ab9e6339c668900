// Package server runs a mgmt.Core: one loop owns it, a writer makes its records
// durable in groups, and the Connect interfaces put their questions to the loop.
package server
