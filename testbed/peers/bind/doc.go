// Package bind runs BIND's named as a peer of tests and of the lab: a primary or
// a secondary inside a namespace of its owner's Set, with generated configuration
// files. Nothing of it outlives the Set.
package bind
