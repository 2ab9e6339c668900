package haltest

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
)

// The gateways that every open VM port shows.
var (
	gateway4 = netip.MustParseAddr("169.254.1.1")
	gateway6 = netip.MustParseAddr("fe80::1")
)

// guard tells whether a frame of a VM may go on, and answers for the gateway.
func (c *card) guard(port string, f []byte) bool {
	ok := false
	switch binary.BigEndian.Uint16(f[12:]) {
	case ethARP:
		ok = c.guardARP(port, f)
	case ethIPv4, ethIPv6:
		h, isIP := parse(f[14:])
		ok = isIP && (c.own(port, h) || c.exempt(port, f, h))
	}
	if !ok {
		c.drops["source_guard"]++
	}
	return ok
}

// own tells whether an Egress of the port names the source, and counts.
func (c *card) own(port string, h header) bool {
	e := c.rules[hwabstraction.EgressID(port, h.src)]
	if e == nil {
		return false
	}
	if target, is := claimed(h); is && !c.mayClaim(port, target) {
		return false
	}
	c.count(e.rule, h)
	c.learn(h.fromVM())
	if h.proto == protoICMPv6 {
		c.answerND(port, h)
	}
	return true
}

// claimed is the address that a neighbour message says is the sender's own: the
// target of an advertisement, or of a solicitation from :: (RFC 4862, 5.4).
func claimed(h header) (netip.Addr, bool) {
	t := h.transport()
	if h.proto != protoICMPv6 || len(t) < 24 {
		return netip.Addr{}, false
	}
	if t[0] == 136 || t[0] == 135 && h.src.IsUnspecified() {
		return netip.AddrFrom16([16]byte(t[8:24])), true
	}
	return netip.Addr{}, false
}

func (c *card) mayClaim(port string, a netip.Addr) bool {
	if a == gateway6 || a == gateway4 {
		return false
	}
	return a.IsLinkLocalUnicast() && a.Is6() || c.rules[hwabstraction.EgressID(port, a)] != nil
}

// exempt tells whether a packet is one of those that need no address of the
// VM: neighbour discovery, MLD, DHCP.
func (c *card) exempt(port string, f []byte, h header) bool {
	t := h.transport()
	if len(t) < 8 {
		return false
	}
	if h.is4 {
		return h.src.IsUnspecified() && h.proto == protoUDP &&
			bytes.Equal(t[:4], []byte{0, 68, 0, 67})
	}
	if h.src == gateway6 || !h.src.IsUnspecified() && !h.src.IsLinkLocalUnicast() {
		return false
	}
	if h.proto == protoUDP {
		return bytes.Equal(t[:4], []byte{2, 34, 2, 35}) // 546 to 547
	}
	if h.proto != protoICMPv6 {
		return false
	}
	switch t[0] {
	case 131, 132, 143, 133: // MLD, router solicitation
		return true
	case 135, 136:
		if target, is := claimed(h); is && !c.mayClaim(port, target) {
			return false
		}
		c.answerND(port, h)
		return true
	}
	return false
}

// guardARP checks an ARP sender and answers for the gateway.
func (c *card) guardARP(port string, f []byte) bool {
	if len(f) < 42 {
		return false
	}
	sender := netip.AddrFrom4([4]byte(f[28:32]))
	target := netip.AddrFrom4([4]byte(f[38:42]))
	if !sender.IsUnspecified() && !c.mayClaim(port, sender) {
		return false
	}
	if binary.BigEndian.Uint16(f[20:]) == 1 && target == gateway4 {
		c.emit(port, arp(2, chaosGateway, gateway4, MAC(f[22:28]), sender))
	}
	return true
}

// answerND answers a solicitation for the gateway.
func (c *card) answerND(port string, h header) {
	t := h.transport()
	if len(t) < 24 || t[0] != 135 || netip.AddrFrom16([16]byte(t[8:24])) != gateway6 || h.src.IsUnspecified() {
		return
	}
	var to MAC
	if len(t) >= 32 && t[24] == 1 {
		to = MAC(t[26:32])
	}
	c.emit(port, ethernet(to, chaosGateway, advertisement(gateway6, h.src, chaosGateway)))
}
