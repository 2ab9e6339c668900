package tc

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"
)

// liar is a socket that answers everything with the same datagrams, their
// sequence number set right where there is room for one.
type liar struct {
	grams [][]byte
	queue [][]byte
}

func (l *liar) Send(b []byte) error {
	l.queue = l.queue[:0]
	for _, g := range l.grams {
		g = append([]byte(nil), g...)
		if len(g) >= unix.SizeofNlMsghdr {
			copy(g[8:12], b[8:12])
		}
		l.queue = append(l.queue, g)
	}
	return nil
}

func (l *liar) Receive(b []byte) (int, error) {
	if len(l.queue) == 0 {
		return 0, unix.EAGAIN
	}
	n := copy(b, l.queue[0])
	l.queue = l.queue[1:]
	return n, nil
}

func (l *liar) Close() error { return nil }

// FuzzKernel: whatever the kernel says, everything comes to an end, and an error
// leaves no filters that might be taken for all.
func FuzzKernel(f *testing.F) {
	k := newFake(3)
	k.reason = "because"
	k.fail[2] = unix.ENOSPC
	record := func(ask func(*Conn)) {
		r := recorder{k, func(b []byte) { f.Add(b, b[:len(b)/2]) }}
		ask(newConn(r, r))
	}
	record(func(c *Conn) { c.Apply(context.Background(), puts(Put, 3, 3)) })
	record(func(c *Conn) { _, _ = c.List(context.Background(), 3) })
	record(func(c *Conn) { _ = c.Attach(3) })
	f.Fuzz(func(t *testing.T, one, two []byte) {
		c := newConn(&liar{grams: [][]byte{one, two}}, &liar{grams: [][]byte{one, two}})
		rs := puts(Put, 3, 3)
		for i, err := range c.Apply(context.Background(), rs) {
			if e, ok := err.(*Error); ok && e.Filter.Handle != rs[i].Filter.Handle {
				t.Errorf("request %d has the error of another: %v", i, err)
			}
		}
		if found, err := c.List(context.Background(), 3); err != nil && found != nil {
			t.Errorf("%d filters and an error: %v", len(found), err)
		}
		_ = c.Attach(3)
	})
}

// recorder shows what a kernel says.
type recorder struct {
	socket
	show func([]byte)
}

func (r recorder) Receive(b []byte) (int, error) {
	n, err := r.socket.Receive(b)
	if err == nil {
		r.show(b[:n])
	}
	return n, err
}
