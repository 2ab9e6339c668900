// Package prover does a node's part of the proofs that the management node asks
// for before it lets a move go on: it sends probes, and tells of those that it
// catches.
package prover
