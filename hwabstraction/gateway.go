package hwabstraction

import "net/netip"

// The gateways of every VM, the same on every hypervisor: an open VM port (see
// Egress) answers for them.
var (
	Gateway4 = netip.AddrFrom4([4]byte{169, 254, 1, 1})
	Gateway6 = netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: 1})
)

// DefaultGatewayMAC is the MAC of the gateways where the configuration names no
// other. All hypervisors that a VM may move between must have the same one.
var DefaultGatewayMAC = [6]byte{0x02, 0x00, 0x5e, 0x00, 0x00, 0x01}
