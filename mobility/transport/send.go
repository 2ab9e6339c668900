package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/net/ipv6"

	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

// Errors that Send wraps, with the peer's address.
var (
	ErrUnknownPeer = errors.New("not on the allow-list")
	ErrNoKey       = errors.New("no key to sign with")
	ErrNoLocator   = errors.New("no own locator of this family")
)

// maxPending is how many errors of other messages one write may meet.
const maxPending = 4

// Send signs and sends messages, each by the socket of its receiver's family.
// One that cannot be sent is counted, the others go out all the same; the error
// is that of the first and is for the log. Send blocks only while a socket's
// send buffer is full, and not beyond ctx at a message's border.
func (c *Conn) Send(ctx context.Context, msgs []registration.Send) error {
	var first error
	for _, s := range c.sockets {
		if err := c.sendOn(ctx, s, msgs); err != nil && first == nil {
			first = err
		}
	}
	for i := range msgs {
		if c.socketFor(msgs[i].To) == nil && first == nil {
			c.counters.add(sendFailed)
			first = fmt.Errorf("transport: send to %s: %w", msgs[i].To, ErrNoLocator)
		}
	}
	return first
}

func (c *Conn) socketFor(to netip.Addr) *socket {
	for _, s := range c.sockets {
		if s.local.Is4() == to.Unmap().Is4() {
			return s
		}
	}
	return nil
}

// sendOn sends those of msgs that belong to s.
func (c *Conn) sendOn(ctx context.Context, s *socket, msgs []registration.Send) error {
	table := c.table.Load()
	s.sending.Lock()
	defer s.sending.Unlock()
	var first error
	note := func(err error) {
		if first == nil && err != nil {
			first = err
		}
	}
	n := 0
	for i := range msgs {
		if msgs[i].To.Unmap().Is4() != s.local.Is4() {
			continue
		}
		s.grow(n)
		if why, err := s.prepare(table, &msgs[i], n); err != nil {
			c.counters.add(why)
			note(fmt.Errorf("transport: send to %s: %w", msgs[i].To, err))
			continue
		}
		if n++; n == c.cfg.Batch {
			note(c.flush(ctx, s, n))
			n = 0
		}
	}
	note(c.flush(ctx, s, n))
	return first
}

// grow makes place for message n.
func (s *socket) grow(n int) {
	if n == len(s.out) {
		s.out = append(s.out, ipv6.Message{Buffers: [][]byte{make([]byte, 0, 512)}})
		s.to = append(s.to, netip.Addr{})
	}
}

// prepare writes message n of the batch.
func (s *socket) prepare(t *Table, msg *registration.Send, n int) (counter, error) {
	to := msg.To.Unmap()
	row := t.peers[to]
	if row == nil {
		return sendPeerUnknown, ErrUnknownPeer
	}
	if row.send == nil && !t.insecure && !msg.Unauthenticated {
		return sendNoKey, ErrNoKey
	}
	b, err := s.sign(row.send, msg, s.out[n].Buffers[0][:0])
	if err != nil {
		return sendTooLong, err
	}
	if msg.Limit > 0 && len(b) > msg.Limit {
		return sendLimit, fmt.Errorf("%d bytes to answer %d", len(b), msg.Limit)
	}
	s.out[n].Buffers[0], s.out[n].Addr, s.to[n] = b, row.to, to
	return 0, nil
}

// sign appends the message, with its authenticator when there is a key and the
// limit leaves room.
func (s *socket) sign(key *wire.Key, msg *registration.Send, dst []byte) ([]byte, error) {
	if key == nil {
		return append(dst, msg.Payload...), nil
	}
	if err := s.given.Parse(msg.Payload); err != nil {
		return dst, err
	}
	s.strip()
	b, err := s.plain.AppendSigned(dst, key, s.given.CareOf(s.local, msg.To.Unmap()))
	if err == nil && msg.Limit > 0 && len(b) > msg.Limit {
		return append(dst[:0], msg.Payload...), nil
	}
	return b, err
}

// strip copies the message given without its pads: those before the
// authenticator depend on its place.
func (s *socket) strip() {
	g, p := &s.given, &s.plain
	p.Reset(g.Type)
	p.Reserved = g.Reserved
	p.Request, p.Reply, p.BindingError, p.Heartbeat = g.Request, g.Reply, g.BindingError, g.Heartbeat
	p.Revocation, p.UpdateNotification, p.UpdateAck = g.Revocation, g.UpdateNotification, g.UpdateAck
	for o := range g.Options() {
		if o.Type != wire.OptPad1 && o.Type != wire.OptPadN {
			p.AddOption(o)
		}
	}
}

// flush sends the first n messages of the batch. An error that belongs to an
// earlier message is left to the reader, which drains the error queue.
func (c *Conn) flush(ctx context.Context, s *socket, n int) error {
	var first error
	pending := 0
	for at := 0; at < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := s.batch.WriteBatch(s.out[at:n], 0)
		if err == nil {
			c.counters.events[sent].Add(uint64(k))
			at, pending = at+k, 0
			continue
		}
		if isPathError(err) {
			s.wake()
			if pending++; pending < maxPending {
				continue
			}
		}
		c.counters.add(sendFailed)
		if first == nil {
			first = fmt.Errorf("transport: send to %s: %w", s.to[at], err)
		}
		at, pending = at+1, 0
	}
	return first
}
