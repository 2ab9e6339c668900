package nstest_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/dpmip/dpmip/internal/nstest"
)

// TestRun: the namespace has loopback and the addresses asked for, ready to be
// bound, and nothing else of the machine.
func TestRun(t *testing.T) {
	at := []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}
	if !nstest.Run(t, at...) {
		return
	}
	for _, a := range at {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
		if err != nil {
			t.Errorf("%s: %v", a, err)
			continue
		}
		c.Close()
	}
	list, err := net.Interfaces()
	if err != nil || len(list) != 1 || list[0].Name != "lo" {
		t.Errorf("interfaces %v (%v), want lo alone", list, err)
	}
}
