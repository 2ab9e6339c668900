package transport

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

// deliver checks a batch and hands what is left to the handler.
func (c *Conn) deliver(s *socket, batch []ipv6.Message, h Handler) {
	table, now := c.table.Load(), time.Now()
	if s.table != table {
		s.prune(table)
	}
	s.inbound = s.inbound[:0]
	for i := range batch {
		c.counters.add(received)
		in, drop := s.judge(table, now, &batch[i], &s.msgs[i], c)
		if drop != delivered {
			c.counters.add(drop)
			continue
		}
		c.counters.add(delivered)
		s.inbound = append(s.inbound, in)
	}
	if len(s.inbound) == 0 {
		return
	}
	c.handling.Lock()
	defer c.handling.Unlock()
	h(s.inbound)
}

// prune forgets the budgets of peers that are no longer in the table.
func (s *socket) prune(t *Table) {
	for a := range s.budgets {
		if t.peers[a] == nil {
			delete(s.budgets, a)
		}
	}
	s.table = t
}

func (s *socket) budget(a netip.Addr) *budget {
	b := s.budgets[a]
	if b == nil {
		b = new(budget)
		s.budgets[a] = b
	}
	return b
}

// judge decides about one message, cheapest checks first. It gives what to
// deliver, or else the reason not to; malformed ones it counts itself, by kind.
func (s *socket) judge(t *Table, now time.Time, raw *ipv6.Message, m *wire.Message, c *Conn) (registration.Inbound, counter) {
	from, port := source(raw.Addr)
	row := t.peers[from]
	switch {
	case row == nil:
		return registration.Inbound{}, dropPeerUnknown
	case s.local.Is4() && port != Port:
		return registration.Inbound{}, dropPort
	case raw.Flags&unix.MSG_TRUNC != 0 || raw.N > wire.MaxLen:
		return registration.Inbound{}, dropTruncated
	case len(row.receive) == 0 && !t.insecure:
		return registration.Inbound{}, dropNoKey
	}
	in := registration.Inbound{From: from, Message: m, Bytes: raw.Buffers[0][:raw.N]}
	if err := m.Parse(in.Bytes); err != nil {
		return s.malformed(in, err, now, c)
	}
	auth, why := s.authenticate(t, row, m, from)
	in.Auth = auth
	if auth == registration.AuthOK || auth == registration.AuthNotRequired {
		if !s.budget(from).messages.take(now, c.cfg.Limits.Messages) {
			return in, dropRate
		}
		return in, delivered
	}
	// Only a Request is answered (146), and only so many.
	if m.Type != wire.TypeRequest {
		return in, why
	}
	c.counters.add(why)
	if !s.budget(from).failed.take(now, c.cfg.Limits.Failed) {
		return in, dropAuthBudget
	}
	return in, delivered
}

// malformed counts a message that the codec refuses. One of an unknown type is
// passed on, within the budget for what is not authenticated.
func (s *socket) malformed(in registration.Inbound, err error, now time.Time, c *Conn) (registration.Inbound, counter) {
	c.counters.bad(err)
	if _, unknown := wire.UnknownType(err); !unknown {
		return in, dropMalformed
	}
	in.Auth = registration.AuthAbsent
	if !s.budget(in.From).failed.take(now, c.cfg.Limits.Failed) {
		return in, dropAuthBudget
	}
	return in, delivered
}

// authenticate verifies a message against the keys for messages from its source
// to us. The counter says why it fails.
func (s *socket) authenticate(t *Table, row *peerKeys, m *wire.Message, from netip.Addr) (registration.Auth, counter) {
	a, present := m.Authentication()
	switch {
	case len(row.receive) == 0: // and the configuration is insecure
		return registration.AuthNotRequired, delivered
	case !present:
		return registration.AuthAbsent, dropAuthMissing
	}
	key := row.find(a.SPI)
	switch {
	case key == nil && t.owners[a.SPI]:
		return registration.AuthFailed, dropAuthDirection
	case key == nil:
		return registration.AuthFailed, dropAuthSPI
	}
	if err := key.Verify(m, m.CareOf(from, s.local)); err != nil {
		if wire.DropReason(err) == wire.KindAuthSubtype.String() {
			return registration.AuthFailed, dropAuthSubtype
		}
		return registration.AuthFailed, dropAuthMismatch
	}
	return registration.AuthOK, delivered
}

func source(a net.Addr) (netip.Addr, uint16) {
	switch a := a.(type) {
	case *net.IPAddr:
		ip, _ := netip.AddrFromSlice(a.IP)
		return ip.WithZone(a.Zone), 0
	case *net.UDPAddr:
		ap := a.AddrPort()
		return ap.Addr().Unmap(), ap.Port()
	}
	return netip.Addr{}, 0
}
