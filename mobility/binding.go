package mobility

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Bounds of one VM, from the protocol profile. With them no message passes
// 1232 bytes.
const (
	MaxSlots        = 8  // current addresses of a VM
	MaxOldAddresses = 16 // live old addresses of a VM
)

// Epoch numbers the accepted moves of one VM. The management node gives it out;
// it only ever grows. 0 means "no epoch": the peer does not speak it.
type Epoch uint32

// Lifetime is a binding lifetime in units of four seconds (RFC 6275 6.1.7).
// 0 removes a binding.
type Lifetime uint16

// LifetimeUnit is the length of one unit of Lifetime on the wire.
const LifetimeUnit = 4 * time.Second

// LifetimeOf rounds d down to whole units; a positive d below one unit gives 1,
// anything above the field's range gives the largest value.
func LifetimeOf(d time.Duration) Lifetime {
	switch {
	case d <= 0:
		return 0
	case d < LifetimeUnit:
		return 1
	case d/LifetimeUnit > 0xffff:
		return 0xffff
	}
	return Lifetime(d / LifetimeUnit)
}

// Duration converts to a time.Duration.
func (l Lifetime) Duration() time.Duration { return time.Duration(l) * LifetimeUnit }

// MAC is a 48-bit link-layer address. The zero MAC means "not given".
type MAC [6]byte

// ParseMAC reads the colon form.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("mobility: bad MAC address %q", s)
	}
	return MAC(hw), nil
}

// IsZero reports whether the address is absent.
func (m MAC) IsZero() bool { return m == MAC{} }

func (m MAC) String() string { return string(m.Append(nil)) }

// Append appends the colon form.
func (m MAC) Append(dst []byte) []byte {
	const digits = "0123456789abcdef"
	for i, b := range m {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, digits[b>>4], digits[b&15])
	}
	return dst
}

// MarshalText gives the colon form.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the colon form.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = v
	return nil
}

// Pair says how one old address is to be forwarded (protocol profile,
// "Pairs"): New equal to Old means unmodified, by host route; another New means
// rewrite the destination to it. Only the management node sends pairs.
type Pair struct{ Old, New netip.Addr }

// Rewrites reports whether the pair asks for translation.
func (p Pair) Rewrites() bool { return p.Old != p.New }

// Delivery names the delivery address D that the destination reserved for an
// old address. Both are of one family.
type Delivery struct{ Old, D netip.Addr }

// Ticket authorises one move; it is bound by the management node to VM,
// destination, epoch, options and expiry. The zero Ticket means "none".
type Ticket [16]byte

// IsZero reports whether no ticket is present.
func (t Ticket) IsZero() bool { return t == Ticket{} }

func (t Ticket) String() string { return hex.EncodeToString(t[:]) }

// MarshalText gives the hexadecimal form.
func (t Ticket) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the hexadecimal form.
func (t *Ticket) UnmarshalText(b []byte) error {
	if n, err := hex.Decode(t[:], b); err != nil || n != len(t) {
		return fmt.Errorf("mobility: bad ticket %q", b)
	}
	return nil
}

// Nonce is echoed by the answer to the message that carried it. Zero: none.
type Nonce [8]byte

// IsZero reports whether no nonce is present.
func (n Nonce) IsZero() bool { return n == Nonce{} }

// SlotCount says how many of the pairs in a Request are current slots, by
// family (vendor option 7). A nil *SlotCount means all of them.
type SlotCount struct{ V6, V4 uint8 }

// SplitFamilies returns the addresses with all IPv6 first, then all IPv4, each
// in the order given: the numbering of slots.
func SplitFamilies(addrs []netip.Addr) (v6, v4 []netip.Addr) {
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	return v6, v4
}
