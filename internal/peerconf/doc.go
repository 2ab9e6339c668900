// Package peerconf is the part of a configuration that names peers and the keys
// shared with them, the same in agent.toml, router.toml and inventory.toml.
package peerconf
