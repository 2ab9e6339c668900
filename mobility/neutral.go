package mobility

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// ErrNotNeutral is returned by NeutralAddr for a pool that cannot hold
// checksum-neutral addresses.
var ErrNotNeutral = errors.New("mobility: delivery pool must be an IPv6 prefix of /96 or wider")

// OnesSum is the one's-complement sum of the address's 16-bit words, folded,
// with 0xffff and 0 taken as equal (0 is returned). Two addresses with one sum
// may stand for each other without touching a transport checksum.
func OnesSum(a netip.Addr) uint16 {
	b := a.AsSlice()
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	if s == 0xffff {
		return 0
	}
	return uint16(s)
}

// NeutralAddr returns an address inside pool whose one's-complement sum equals
// old's: the bits of random fill the host part, and the last 16-bit word is
// then chosen. Callers check uniqueness: two old addresses may share a sum.
func NeutralAddr(pool netip.Prefix, old netip.Addr, random [12]byte) (netip.Addr, error) {
	if !pool.IsValid() || !pool.Addr().Is6() || pool.Addr().Is4In6() || pool.Bits() > 96 || !old.Is6() || old.Is4In6() {
		return netip.Addr{}, ErrNotNeutral
	}
	a := pool.Masked().Addr().As16()
	host := [16]byte{}
	copy(host[4:], random[:])
	bits := pool.Bits()
	for i := range a {
		var mask byte // bits of this byte that belong to the host part
		switch {
		case i*8 >= bits:
			mask = 0xff
		case i*8+8 > bits:
			mask = 0xff >> (bits - i*8)
		}
		a[i] |= host[i] & mask
	}
	a[14], a[15] = 0, 0
	// word = sum(old) - sum(rest), in one's complement.
	want, rest := uint32(OnesSum(old)), uint32(OnesSum(netip.AddrFrom16(a)))
	w := want + (0xffff - rest)
	if w > 0xffff {
		w = w&0xffff + w>>16
	}
	binary.BigEndian.PutUint16(a[14:], uint16(w))
	return netip.AddrFrom16(a), nil
}
