package mgmt

import (
	"net/netip"
	"testing"
)

// TestInside: a probe address lies in its range, whatever the random bits are.
func TestInside(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		prefix string
		random uint64
		want   string
	}{
		{"10.254.0.0/24", 7, "10.254.0.7"},
		{"10.254.0.0/24", 1<<64 - 1, "10.254.0.255"},
		{"10.254.1.16/28", 0x123456789abcdef3, "10.254.1.19"},
		{"10.0.0.0/8", 0xff_02_03_04, "10.2.3.4"},
		{"2001:db8:fffe::/124", 0xfff5, "2001:db8:fffe::5"},
		{"2001:db8:fffe::/64", 0x0001_0002_0003_0004, "2001:db8:fffe:0:1:2:3:4"},
		{"2001:db8::/32", 1<<64 - 1, "2001:db8::ffff:ffff:ffff:ffff"},
	} {
		p := netip.MustParsePrefix(tc.prefix)
		got := inside(p, tc.random)
		if got.String() != tc.want || !p.Contains(got) {
			t.Errorf("%x in %s: %s, want %s", tc.random, p, got, tc.want)
		}
	}
}

// TestProbeAddressesRunOut: no two moves have one probe address, and when all are
// taken that is told.
func TestProbeAddressesRunOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory+"proofs = { probes = [\"10.9.0.0/28\"] }\n")
	seen := map[netip.Addr]bool{}
	for {
		a, err := w.core.probeAddress(true)
		if err != nil {
			if want := "other moves have the addresses of 10.9.0.0/28"; err.Error() != want || len(seen) < 8 {
				t.Fatalf("after %d addresses: %v, want %s", len(seen), err, want)
			}
			break
		}
		if seen[a] || a.String() == "10.9.0.0" {
			t.Fatalf("%s is given out", a)
		}
		seen[a] = true
		w.core.byAddr[a] = vm1
	}
	if _, err := w.core.probeAddress(false); err == nil {
		t.Error("an IPv6 probe address out of no range")
	}
}
