package agent

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
)

// draws is how many random addresses of one prefix are tried before it counts
// as exhausted.
const draws = 64

// addresses gives out delivery addresses and new addresses, none twice. An
// address is taken from take until free, which the quarantine delays.
type addresses struct {
	ranges []netip.Prefix
	pools  []netip.Prefix
	taken  map[netip.Addr]mobility.VMID
	rand   *rand.Rand
}

func newAddresses(c *Config) *addresses {
	a := &addresses{
		ranges: c.Ranges, pools: c.Pools,
		taken: make(map[netip.Addr]mobility.VMID),
		rand:  rand.New(rand.NewChaCha8(c.Seed)),
	}
	for _, r := range c.Reserved {
		a.taken[r] = mobility.VMID{}
	}
	for vm, s := range c.Static {
		for _, r := range s.Addresses {
			a.taken[r] = vm
		}
	}
	return a
}

// reserve makes room for n addresses more.
func (a *addresses) reserve(n int) {
	taken := make(map[netip.Addr]mobility.VMID, len(a.taken)+n)
	maps.Copy(taken, a.taken)
	a.taken = taken
}

// owner tells who has an address.
func (a *addresses) owner(addr netip.Addr) (mobility.VMID, bool) {
	vm, ok := a.taken[addr]
	return vm, ok
}

func (a *addresses) take(vm mobility.VMID, addr netip.Addr) { a.taken[addr] = vm }

func (a *addresses) free(vm mobility.VMID, addr netip.Addr) {
	if a.taken[addr] == vm {
		delete(a.taken, addr)
	}
}

// home reports whether an address belongs to this hypervisor.
func (a *addresses) home(addr netip.Addr) bool { return contains(a.ranges, addr) }

func contains(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// delivery reserves a delivery address for an old address. Status 170 where
// there is no pool of its family and it is IPv4, 130 where all are used up.
func (a *addresses) delivery(vm mobility.VMID, old netip.Addr) (netip.Addr, error) {
	family := false
	for _, p := range a.pools {
		if p.Addr().Is4() != old.Is4() {
			continue
		}
		family = true
		var d netip.Addr
		var ok bool
		if old.Is4() {
			d, ok = a.scan4(p)
		} else {
			d, ok = a.neutral(p, old)
		}
		if ok {
			a.take(vm, d)
			return d, nil
		}
	}
	if !family && old.Is4() {
		return netip.Addr{}, mobility.Refuse(mobility.StatusNoIPv4, "no IPv4 delivery pool for %s of %s", old, vm)
	}
	return netip.Addr{}, mobility.Refuse(mobility.StatusResources, "no delivery address left for %s of %s", old, vm)
}

// slot reserves a new address of a family from the VM ranges.
func (a *addresses) slot(vm mobility.VMID, v4 bool) (netip.Addr, error) {
	for _, p := range a.ranges {
		if p.Addr().Is4() != v4 {
			continue
		}
		var s netip.Addr
		var ok bool
		if v4 {
			s, ok = a.scan4(p)
		} else {
			s, ok = a.random6(p)
		}
		if ok {
			a.take(vm, s)
			return s, nil
		}
	}
	return netip.Addr{}, mobility.Refuse(mobility.StatusResources, "no new address left for %s", vm)
}

func (a *addresses) neutral(pool netip.Prefix, old netip.Addr) (netip.Addr, bool) {
	for range draws {
		d, err := mobility.NeutralAddr(pool, old, a.random())
		if err != nil {
			return netip.Addr{}, false
		}
		if _, used := a.taken[d]; !used && d != pool.Addr() {
			return d, true
		}
	}
	return netip.Addr{}, false
}

func (a *addresses) random() (r [12]byte) {
	binary.BigEndian.PutUint64(r[:], a.rand.Uint64())
	binary.BigEndian.PutUint32(r[8:], a.rand.Uint32())
	return r
}

// random6 fills the host part of a prefix with random bits; prefixes narrower
// than /118 are scanned, so that the last address is found too.
func (a *addresses) random6(p netip.Prefix) (netip.Addr, bool) {
	if p.Bits() >= 118 {
		return a.scan(p, 128-p.Bits())
	}
	for range draws {
		b, r := p.Masked().Addr().As16(), a.random()
		for i, v := range r {
			switch bit := (i + 4) * 8; {
			case bit >= p.Bits():
				b[i+4] = v
			case bit+8 > p.Bits():
				b[i+4] |= v & (0xff >> (p.Bits() - bit))
			}
		}
		s := netip.AddrFrom16(b)
		if _, used := a.taken[s]; !used && s != p.Addr() {
			return s, true
		}
	}
	return netip.Addr{}, false
}

func (a *addresses) scan4(p netip.Prefix) (netip.Addr, bool) { return a.scan(p, 32-p.Bits()) }

// scan looks for a free address from a random place on. The first and the
// last address of a prefix with more than two are left out: network and
// broadcast, or the subnet router's anycast address.
func (a *addresses) scan(p netip.Prefix, hostBits int) (netip.Addr, bool) {
	first, n := uint64(0), uint64(1)<<min(hostBits, 32)
	if n > 2 {
		first, n = 1, n-2
	}
	start := a.rand.Uint64N(n)
	for i := range n {
		s := offset(p.Masked().Addr(), first+(start+i)%n)
		if _, used := a.taken[s]; !used {
			return s, true
		}
	}
	return netip.Addr{}, false
}

// offset adds n to the low 32 bits of an address whose low bits are zero.
func offset(a netip.Addr, n uint64) netip.Addr {
	b := a.AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)|uint32(n))
	s, _ := netip.AddrFromSlice(b)
	return s
}
