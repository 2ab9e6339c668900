package bul

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
)

var errValue = errors.New("bul: malformed entry")

// reader takes fields off a value. After the first one that is short it gives
// zeros only.
type reader struct {
	b   []byte
	bad bool
}

// take gives the next n bytes, or nil.
func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// time reads a time that is not 0.
func (r *reader) time() int64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	v := int64(binary.LittleEndian.Uint64(b))
	r.bad = r.bad || v == 0
	return v
}

func (r *reader) addr(v6 bool) netip.Addr {
	if !v6 {
		if b := r.take(4); b != nil {
			return netip.AddrFrom4([4]byte(b))
		}
		return netip.Addr{}
	}
	b := r.take(16)
	if b == nil {
		return netip.Addr{}
	}
	a := netip.AddrFrom16([16]byte(b))
	r.bad = r.bad || a.Is4In6()
	return a
}

// count reads the length of a list, which is neither empty nor longer than most.
func (r *reader) count(most int) int {
	n := int(r.u8())
	if n == 0 || n > most {
		r.bad, n = true, 0
	}
	return n
}

// decodeKey splits a key. The identifier's bytes alias it.
func decodeKey(key []byte) (st mobility.IDSubtype, id []byte, ok bool) {
	if len(key) < 2 || len(key) > maxKey || key[0] == byte(mobility.IDInvalid) {
		return 0, nil, false
	}
	return mobility.IDSubtype(key[0]), key[1:], true
}

// decodeValue fills everything but the identifier; the room of e's slices is
// used again. Only what appendValue makes of a valid entry is accepted.
func decodeValue(b []byte, e *Entry) error {
	e.Reset()
	r := reader{b: b}
	fields := r.u32()
	e.Role = Role(r.u8())
	e.Epoch = mobility.Epoch(r.u32())
	if e.Role == 0 || int(e.Role) >= len(roleNames) || fields&^fieldsKnown != 0 {
		return errValue
	}
	if fields&fieldFlags != 0 {
		e.Flags = Flags(r.u16())
	}
	if fields&fieldMAC != 0 {
		copy(e.MAC[:], r.take(len(e.MAC)))
	}
	if fields&fieldPort != 0 {
		name := r.take(r.count(MaxPort))
		copy(e.Port[:], name)
		r.bad = r.bad || bytes.IndexByte(name, 0) >= 0
	}
	if fields&fieldLifetime != 0 {
		e.Lifetime = mobility.Lifetime(r.u16())
	}
	if fields&fieldExpires != 0 {
		e.ExpiresAt = r.time()
	}
	if fields&fieldSent != 0 {
		e.SentAt = r.time()
	}
	if fields&fieldSequence != 0 {
		e.Sequence = r.u16()
	}
	r.lists(fields, e)
	if fields&fieldLocator != 0 {
		e.Locator = r.addr(true)
	}
	if fields&fieldLocator4 != 0 {
		e.Locator4 = r.addr(false)
	}
	if fields&fieldTicket != 0 {
		copy(e.Ticket[:], r.take(len(e.Ticket)))
	}
	if fields&fieldMove != 0 {
		e.Move = mobility.MoveOptions{
			Mode: mobility.Mode(r.u8()), Addresses: mobility.Addressing(r.u8()), Redirect: mobility.RedirectMode(r.u8()),
			New: mobility.NewConnections(r.u8()), Phase: mobility.Phase(r.u8()),
		}
	}
	if fields&fieldQuarantine != 0 {
		e.QuarantineUntil = r.time()
	}
	if fields&fieldExtra != 0 {
		n := int(r.u16())
		r.bad = r.bad || n == 0 || n > MaxExtra
		e.Extra = append(e.Extra, r.take(n)...)
	}
	if r.bad || len(r.b) != 0 {
		return errValue
	}
	return nil
}

// lists reads slots, deliveries and redirects.
func (r *reader) lists(fields uint32, e *Entry) {
	if fields&fieldSlots != 0 {
		n, families := r.count(mobility.MaxSlots), r.u8()
		for i := range n {
			e.Slots = append(e.Slots, r.addr(families>>i&1 != 0))
		}
	}
	if fields&fieldDeliveries != 0 {
		n, families := r.count(mobility.MaxOldAddresses), r.u16()
		for i := range n {
			v6 := families>>i&1 != 0
			d := Delivery{Delivery: mobility.Delivery{Old: r.addr(v6), D: r.addr(v6)}, Flags: DeliveryFlags(r.u8())}
			if d.Flags&untilBit != 0 {
				d.Flags &^= untilBit
				d.Until = r.time()
			}
			e.Deliveries = append(e.Deliveries, d)
		}
	}
	if fields&fieldRedirects != 0 {
		n, families := r.count(mobility.MaxOldAddresses), r.u16()
		for i := range n {
			v6 := families>>i&1 != 0
			e.Redirects = append(e.Redirects, mobility.Pair{Old: r.addr(v6), New: r.addr(v6)})
		}
	}
}
