// Package rig is a small fabric for routing peers: a router under test between
// a management node, a hypervisor's link and a far router, each in a namespace
// of its own, with the real dpmip-router and the management node's half of
// the registration protocol.
//
//	mgmt --m0-- tor --f0-- far
//	             |
//	             h0 -- hv
package rig
