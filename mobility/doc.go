// Package mobility holds the words of distributed Proxy Mobile IPv6 VM
// mobility as types: who a VM is, where it lives, what a move asks for.
//
// It imports the standard library only and never does I/O; every other room
// may speak it. The terms are those of draft-sarikaya-nvo3-vmm-dmm-pmip-03 and
// RFC 5213, pinned down in docs/protocol.md.
package mobility
