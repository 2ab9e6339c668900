// Package bgp is the border router: it tells other data centres by BGP which VMs'
// addresses are served where, and takes the same from them
// (draft-sarikaya-nvo3-vmm-dmm-pmip-03 section 7.2, RFC 4271).
//
// Policy and Table are pure: which host routes go to which peer, and which of a
// peer's are accepted, of which the best one goes to the kernel. Border is the
// loop around them. The protocol itself is a Speaker's; GoBGP is the one there
// is.
package bgp
