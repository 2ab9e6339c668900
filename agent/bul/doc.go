// Package bul is the Binding Update List of a hypervisor (RFC 5213 section
// 6.1): one entry for each VM that runs here, is about to arrive, or is still
// redirected from here. It lives inside a given piece of memory, off the Go
// heap, and survives the agent.
//
// The agent decides on its own structs and puts every change here; when it
// starts it reads all entries back. An entry that was put is there after a crash
// at any later instruction, whole; one that was being put is there as it was
// before, or as it should become. How that is done is told in internal/cells.
//
// The memory is bounded: when it is used up, Put returns ErrFull, which a
// Request is answered with as status 130 (mobility.StatusResources).
package bul
