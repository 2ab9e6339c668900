package scenario

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/testbed/capture"
	"github.com/dpmip/dpmip/testbed/topology"
)

// TestSecret: where VMs are at home may be known outside, nothing else.
func TestSecret(t *testing.T) {
	t.Parallel()
	p := topology.InterDC()
	for prefix, want := range map[string]bool{
		"2001:db8:a:1::/64":      false, // a range
		"10.3.1.0/24":            false,
		"2001:db8:cafe::/64":     false, // the correspondent node's
		"2001:db8:a:1::10/128":   true,  // a host route
		"10.1.1.10/32":           true,
		"10.1.1.0/25":            true,
		"2001:db8:a:d::/64":      true, // delivery addresses
		"2001:db8:a:d::1234/128": true,
		"2001:db8:c::/48":        true, // an aggregate
		"10.3.0.0/16":            true,
		"10.3.0.1/32":            true, // a locator
		"172.16.1.0/24":          true, // behind the NAT box
	} {
		if got := secret(&p, netip.MustParsePrefix(prefix)); got != want {
			t.Errorf("secret(%s) = %v, want %v", prefix, got, want)
		}
	}
}

func TestCounter(t *testing.T) {
	t.Parallel()
	const snmp = "Ip: Forwarding InHdrErrors InAddrErrors\nIp: 1 42 0\nIcmp: InMsgs InHdrErrors\nIcmp: 7 9\n"
	const snmp6 = "Ip6InReceives                   \t11\nIp6InHdrErrors                  \t5\n"
	for _, tc := range []struct {
		text, name string
		want       uint64
		bad        bool
	}{
		{snmp, "Ip InHdrErrors", 42, false}, {snmp, "Icmp InHdrErrors", 9, false}, {snmp6, "Ip6InHdrErrors", 5, false},
		{snmp, "Ip InDelivers", 0, true}, {snmp6, "Ip6In", 0, true}, {"", "Ip InHdrErrors", 0, true},
	} {
		got, err := counter(tc.text, tc.name)
		if got != tc.want || (err != nil) != tc.bad {
			t.Errorf("counter(%q) = %d, %v; want %d, an error: %v", tc.name, got, err, tc.want, tc.bad)
		}
	}
}

// TestLoops: the way home may lead over a link twice, a circle leads there more
// often; another direction, link or number is another crossing.
func TestLoops(t *testing.T) {
	t.Parallel()
	l := loops{seen: map[crossing]int{}}
	frame := func(mac byte, number uint64) capture.Frame {
		b := make([]byte, 8+25)
		binary.BigEndian.PutUint64(b[16:], number)
		return capture.Frame{Data: append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, mac}, b...), Protocol: 17, SrcPort: portUDP, Payload: b}
	}
	see := func(n, link int, mac byte, number uint64) {
		for range n {
			l.see(link, frame(mac, number))
		}
	}
	see(2, 0, 1, 1)
	see(2, 0, 2, 1)
	see(2, 1, 1, 1)
	see(1, 0, 1, 2)
	if l.hit != 0 {
		t.Errorf("%d circles where there is none", l.hit)
	}
	see(5, 0, 1, 1)
	see(1, 1, 1, 1)
	if l.hit != 2 || l.most != 7 {
		t.Errorf("%d circles, at most %d crossings; want 2, 7", l.hit, l.most)
	}
	later := frame(1, 1)
	later.SrcPort = 0 // a later fragment says no number
	for range 5 {
		l.see(2, later)
	}
	if l.hit != 2 {
		t.Errorf("fragments make circles: %d", l.hit)
	}
}

// TestUnforgiven: a cut link excuses what was lost in the move during which it
// was cut, and nothing else.
func TestUnforgiven(t *testing.T) {
	t.Parallel()
	r := run{moves: []*move{{n: 1, from: "hvA", to: "hvC", outage: true}, {n: 2, from: "hvC", to: "hvA"}}}
	problems := []string{
		"move 1 (hvA -> hvC): 5 datagrams lost",
		"move 1 (hvA -> hvC): datagram 7 from a to b, sent after 1.000 ms, did not arrive",
		"move 1 (hvA -> hvC): 1 connections lost",
		"move 1 (hvA -> hvC): 2 datagrams duplicated",
		"move 2 (hvC -> hvA): 5 datagrams lost",
		"something else: 5 datagrams lost",
	}
	want := problems[2:]
	if d := cmp.Diff(append([]string(nil), want...), r.unforgiven(append([]string(nil), problems...))); d != "" {
		t.Errorf("unforgiven (-want +got):\n%s", d)
	}
}
