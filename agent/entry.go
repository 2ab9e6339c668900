package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/agent/bul"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// The encoding of Entry.Extra: a version byte, then what the fields of a
// bul.Entry do not say, each part present as its flag says.
const extraVersion = 1

const (
	extraServing = 1 << iota
	extraIncoming
	extraLeaving
	extraRegistered
	extraPlain
	extraCommit
	extraDetaching
	extraHold
	extraFrozen
	extraIncomingReady
	extraLeavingReady
	extraArmed
	extraDone
	extraGuarded
)

var errExtra = errors.New("agent: malformed extra of an entry")

// ToEntry writes a record in the form of the Binding Update List. The error is
// that of a port's name.
func (r *Record) ToEntry() (bul.Entry, error) {
	e := bul.Entry{ID: r.VM, MAC: r.MAC, Epoch: r.Epoch, Role: r.bulRole()}
	x := extra{b: []byte{extraVersion}}
	x.uint(uint64(r.flags()))
	x.uint(uint64(r.Known))
	x.uint(uint64(len(r.Orders)))
	for _, o := range r.Orders {
		x.addr(o.Sender)
		x.time(o.Timestamp)
		x.uint(uint64(o.Sequence))
	}
	var err error
	if s := r.Serving; s != nil {
		e.Lifetime, e.ExpiresAt = s.Lifetime, unixNano(s.Expires)
		if s.Epoch != 0 {
			e.Flags |= bul.FlagActivated
		}
		e.Flags |= bul.FlagAttached
		if c := s.Commit; c != nil {
			e.Flags |= bul.FlagCommitOwed
			e.Ticket, e.Move = c.Ticket, c.Move
			x.uint(uint64(c.Epoch))
		}
		err = x.group(&s.Group, &e)
	}
	if in := r.Incoming; in != nil {
		e.Ticket, e.Move = in.Ticket, in.Move
		err = errors.Join(err, x.group(&in.Group, &e))
	}
	if l := r.Leaving; l != nil {
		e.Redirects, e.Locator, e.Locator4 = l.Pairs, l.Locator, l.Locator4
		if l.Locator.Is4() {
			e.Locator, e.Locator4 = netip.Addr{}, l.Locator
		}
		if l.Armed {
			e.Flags |= bul.FlagReleased
		}
		x.uint(uint64(l.Stamp))
		x.uint(uint64(l.Epoch))
		x.move(l.Move)
		x.time(l.Expires)
	}
	x.spent(r.Spent)
	e.Extra = x.b
	if len(x.b) > bul.MaxExtra {
		return e, fmt.Errorf("agent: %s: %d bytes beside the entry, at most %d", r.VM, len(x.b), bul.MaxExtra)
	}
	return e, err
}

// FromEntry reads what ToEntry wrote.
func FromEntry(e *bul.Entry) (Record, error) {
	r := Record{VM: e.ID, MAC: e.MAC, Epoch: e.Epoch}
	x := extra{b: e.Extra}
	if v := x.byte(); v != extraVersion {
		return r, fmt.Errorf("%w: version %d", errExtra, v)
	}
	f := uint32(x.readUint())
	r.Known = mobility.Epoch(x.readUint())
	for range x.count(16) {
		r.Orders = append(r.Orders, registration.Order{VM: r.VM, Sender: x.readAddr(), Timestamp: x.readTime(), Sequence: uint16(x.readUint())})
	}
	if f&extraServing != 0 {
		s := &Serving{
			Registered: f&extraRegistered != 0, Plain: f&extraPlain != 0, Detaching: f&extraDetaching != 0,
			Lifetime: e.Lifetime, Expires: fromNano(e.ExpiresAt),
		}
		if f&extraCommit != 0 {
			s.Commit = &Commit{Epoch: mobility.Epoch(x.readUint()), Ticket: e.Ticket, Move: e.Move}
		}
		s.Group = x.readGroup(e, f)
		r.Serving = s
	}
	if f&extraIncoming != 0 {
		r.Incoming = &Incoming{
			Group: x.readGroup(e, f), Ticket: e.Ticket, Move: e.Move,
			Frozen: f&extraFrozen != 0, Ready: f&extraIncomingReady != 0,
		}
	}
	if f&extraLeaving != 0 {
		l := &Leaving{
			Pairs: append([]mobility.Pair(nil), e.Redirects...), Locator: e.Locator, Locator4: e.Locator4,
			Ready: f&extraLeavingReady != 0, Armed: f&extraArmed != 0, Done: f&extraDone != 0,
		}
		if !l.Locator.IsValid() {
			l.Locator = l.Locator4
		}
		l.Stamp, l.Epoch = mobility.Epoch(x.readUint()), mobility.Epoch(x.readUint())
		l.Move, l.Expires = x.readMove(), x.readTime()
		r.Leaving = l
	}
	r.Spent = x.readSpent()
	if x.bad || len(x.b) != 0 {
		return r, fmt.Errorf("%w of %s", errExtra, r.VM)
	}
	return r, nil
}

func (r *Record) bulRole() bul.Role {
	switch {
	case r.Incoming != nil:
		return bul.RolePreparing
	case r.Serving != nil && r.Leaving != nil:
		return bul.RoleSource
	case r.Serving != nil:
		return bul.RoleServing
	case r.Leaving != nil:
		return bul.RoleAnchor
	}
	return bul.RoleGone
}

func (r *Record) flags() (f uint32) {
	set := func(on bool, bit uint32) {
		if on {
			f |= bit
		}
	}
	if s := r.Serving; s != nil {
		set(true, extraServing)
		set(s.Registered, extraRegistered)
		set(s.Plain, extraPlain)
		set(s.Commit != nil, extraCommit)
		set(s.Detaching, extraDetaching)
		set(s.Hold, extraHold)
		set(s.Guarded, extraGuarded)
	}
	if in := r.Incoming; in != nil {
		set(true, extraIncoming)
		set(in.Frozen, extraFrozen)
		set(in.Ready, extraIncomingReady)
		set(in.Hold, extraHold)
		set(in.Guarded, extraGuarded)
	}
	if l := r.Leaving; l != nil {
		set(true, extraLeaving)
		set(l.Ready, extraLeavingReady)
		set(l.Armed, extraArmed)
		set(l.Done, extraDone)
	}
	return f
}

// extra appends to, or takes from, the bytes of an Extra. After the first part
// that is short it gives zeros only.
type extra struct {
	b   []byte
	bad bool
}

func (x *extra) uint(v uint64) { x.b = binary.AppendUvarint(x.b, v) }

func (x *extra) time(t time.Time) { x.b = binary.AppendVarint(x.b, unixNano(t)) }

func (x *extra) addr(a netip.Addr) {
	s := a.AsSlice()
	x.b = append(append(x.b, byte(len(s))), s...)
}

func (x *extra) move(m mobility.MoveOptions) {
	x.b = append(x.b, byte(m.Mode), byte(m.Addresses), byte(m.Redirect), byte(m.New), byte(m.Phase))
}

func (x *extra) text(s string) {
	x.b = append(append(x.b, byte(len(s))), s...)
}

// group writes a group into the entry's fields, and the rest of it here.
func (x *extra) group(g *Group, e *bul.Entry) (err error) {
	e.Slots = g.Slots
	for _, d := range g.Deliveries {
		e.Deliveries = append(e.Deliveries, bul.Delivery{Delivery: d})
	}
	x.uint(uint64(g.Epoch))
	x.uint(uint64(len(g.Olds)))
	for _, a := range g.Olds {
		x.addr(a)
	}
	e.Port, err = bul.PortOf(g.Port)
	return err
}

func (x *extra) spent(list []Spent) {
	x.uint(uint64(len(list)))
	for _, s := range list {
		x.addr(s.Old)
		x.addr(s.D)
		x.b = append(x.b, byte(s.State)<<1|b2i(s.Hold))
		x.uint(uint64(s.Epoch))
		x.text(s.Port)
		x.time(s.Until)
	}
}

func b2i(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (x *extra) take(n int) []byte {
	if n > len(x.b) {
		x.bad, x.b = true, nil
		return make([]byte, n)
	}
	out := x.b[:n]
	x.b = x.b[n:]
	return out
}

func (x *extra) byte() byte { return x.take(1)[0] }

func (x *extra) readUint() uint64 {
	v, n := binary.Uvarint(x.b)
	if n <= 0 {
		x.bad, x.b = true, nil
		return 0
	}
	x.b = x.b[n:]
	return v
}

func (x *extra) count(most uint64) uint64 {
	n := x.readUint()
	if n > most {
		x.bad, n = true, 0
	}
	return n
}

func (x *extra) readTime() time.Time {
	v, n := binary.Varint(x.b)
	if n <= 0 {
		x.bad, x.b = true, nil
		return time.Time{}
	}
	x.b = x.b[n:]
	return fromNano(v)
}

func (x *extra) readAddr() netip.Addr {
	n := int(x.byte())
	if n == 0 {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(x.take(n))
	x.bad = x.bad || !ok
	return a
}

func (x *extra) readMove() mobility.MoveOptions {
	b := x.take(5)
	return mobility.MoveOptions{
		Mode: mobility.Mode(b[0]), Addresses: mobility.Addressing(b[1]), Redirect: mobility.RedirectMode(b[2]),
		New: mobility.NewConnections(b[3]), Phase: mobility.Phase(b[4]),
	}
}

func (x *extra) readGroup(e *bul.Entry, f uint32) Group {
	g := Group{Port: e.Port.String(), Slots: append([]netip.Addr(nil), e.Slots...), Hold: f&extraHold != 0, Guarded: f&extraGuarded != 0}
	for _, d := range e.Deliveries {
		g.Deliveries = append(g.Deliveries, d.Delivery)
	}
	g.Epoch = mobility.Epoch(x.readUint())
	for range x.count(mobility.MaxOldAddresses) {
		g.Olds = append(g.Olds, x.readAddr())
	}
	return g
}

func (x *extra) readSpent() (list []Spent) {
	for range x.count(maxSpent) {
		s := Spent{Delivery: mobility.Delivery{Old: x.readAddr(), D: x.readAddr()}}
		b := x.byte()
		s.State, s.Hold = SpentState(b>>1), b&1 != 0
		s.Epoch, s.Port, s.Until = mobility.Epoch(x.readUint()), string(x.take(int(x.byte()))), x.readTime()
		list = append(list, s)
	}
	return list
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
