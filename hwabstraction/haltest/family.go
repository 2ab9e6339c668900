package haltest

import (
	"net/netip"

	gocmp "github.com/google/go-cmp/cmp"
)

// byValue lets go-cmp compare addresses and prefixes.
var byValue = gocmp.Options{
	gocmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// family is the address plan of the suite in one IP family. None of its
// addresses is the hypervisor's own.
type family struct {
	name    string
	is4     bool
	peer    netip.Addr             // a correspondent behind the fabric
	locator netip.Addr             // another hypervisor
	old     func(i int) netip.Addr // the i-th address of a VM
	here    func(i int) netip.Addr // the i-th delivery address of this hypervisor
	there   func(i int) netip.Addr // the i-th delivery address of another one
	vmRange netip.Prefix           // holds every old
}

func plan(base string) func(i int) netip.Addr {
	a := netip.MustParseAddr(base)
	return func(i int) netip.Addr {
		b := a.AsSlice()
		b[len(b)-1] += byte(i)
		out, _ := netip.AddrFromSlice(b)
		return out
	}
}

// neutral returns addresses like base(i), with the word before the last chosen
// so that the one's-complement sum is that of like(i): no transport checksum
// changes where one replaces the other.
func neutral(base, like func(i int) netip.Addr) func(i int) netip.Addr {
	return func(i int) netip.Addr {
		b := base(i).As16()
		b[12], b[13] = 0, 0
		diff := fold(sum(0, like(i).AsSlice()) + uint32(^fold(sum(0, b[:]))))
		b[12], b[13] = byte(diff>>8), byte(diff)
		return netip.AddrFrom16(b)
	}
}

var family6 = family{
	name: "6", peer: netip.MustParseAddr("2001:db8:c::9"), locator: netip.MustParseAddr("2001:db8:b::1"),
	old:     plan("2001:db8:a:1::10"),
	here:    neutral(plan("2001:db8:d:1::10"), plan("2001:db8:a:1::10")),
	there:   neutral(plan("2001:db8:e:1::10"), plan("2001:db8:a:1::10")),
	vmRange: netip.MustParsePrefix("2001:db8:a:1::/64"),
}

var family4 = family{
	name: "4", is4: true, peer: netip.MustParseAddr("198.51.100.9"), locator: netip.MustParseAddr("203.0.113.2"),
	old: plan("10.1.0.16"), here: plan("10.2.0.16"), there: plan("10.3.0.16"),
	vmRange: netip.MustParsePrefix("10.1.0.0/24"),
}

// sum adds the big-endian words of b to a one's-complement sum (RFC 1071).
func sum(s uint32, b []byte) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
