package tc

import (
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// TestKernelOverflows gives the kernel no room for its answers: each request has
// its own error all the same, and is carried out where it can be.
func TestKernelOverflows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.conn.Attach(w.va); err != nil {
		t.Fatal(err)
	}
	has := w.flower(t)
	small := &overflowing{netlinkSocket: w.conn.write.socket.(netlinkSocket)}
	if err := unix.SetsockoptInt(int(small.netlinkSocket), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1); err != nil {
		t.Fatal(err)
	}
	w.conn.write.socket = small
	rs := dropping(puts(Put, w.va, 2*maxBatch))
	for i := range maxBatch {
		rs[2*i+1].Filter.Actions = []flower.Action{flower.Redirect{Port: 9999}} // no such port
	}
	want := hwabstraction.ErrPortGone
	if !has {
		want = hwabstraction.ErrNotSupported
	}
	for i, err := range w.conn.Apply(t.Context(), rs) {
		if bad := i%2 == 1 || !has; bad && !errors.Is(err, want) || !bad && err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	got, err := w.conn.List(t.Context(), w.va)
	if n := maxBatch; err != nil || has && len(got) != n || !has && len(got) != 0 {
		t.Errorf("%d filters, %v", len(got), err)
	}
	if small.times == 0 {
		t.Error("there was room for all answers: nothing was tried")
	}
	if errs := w.conn.Apply(t.Context(), requests(Delete, filtersOf(rs))); failed(errs) != nil {
		t.Errorf("deleting, half of them absent: %v", errors.Join(errs...))
	}
}

// overflowing counts how often the socket had no room.
type overflowing struct {
	netlinkSocket
	times int
}

func (o *overflowing) Receive(b []byte) (int, error) {
	n, err := o.netlinkSocket.Receive(b)
	if err == unix.ENOBUFS {
		o.times++
	}
	return n, err
}

// TestKernelTogether writes to two ports and reads them at once.
func TestKernelTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, port := range []int32{w.va, w.vb} {
		if err := w.conn.Attach(port); err != nil {
			t.Fatal(err)
		}
	}
	has := w.flower(t)
	var all sync.WaitGroup
	for _, port := range []int32{w.va, w.vb} {
		all.Go(func() {
			for range 5 {
				rs := dropping(puts(Replace, port, 300))
				for i, err := range w.conn.Apply(t.Context(), rs) {
					if err != nil && (has || !errors.Is(err, hwabstraction.ErrNotSupported)) {
						t.Errorf("port %d, request %d: %v", port, i, err)
					}
				}
			}
		})
		all.Go(func() {
			for range 10 {
				got, err := w.conn.List(t.Context(), port)
				if err != nil {
					t.Errorf("port %d: %v", port, err)
				}
				for _, s := range got {
					if s.Port != port {
						t.Errorf("port %d: a filter of port %d", port, s.Port)
					}
				}
			}
		})
	}
	all.Wait()
	for _, port := range []int32{w.va, w.vb} {
		if got, err := w.conn.List(t.Context(), port); err != nil || has && len(got) != 300 {
			t.Errorf("port %d: %d filters, %v", port, len(got), err)
		}
	}
}

// TestKernelTakesAway removes the port while filters are put: each request that
// was too late says what is missing.
func TestKernelTakesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.conn.Attach(w.va); err != nil {
		t.Fatal(err)
	}
	has := w.flower(t)
	under := &passing{socket: w.conn.write.socket, second: make(chan struct{})}
	w.conn.write.socket = under
	rs := dropping(puts(Put, w.va, 8*maxBatch))
	var removed error
	var all sync.WaitGroup
	all.Go(func() {
		<-under.second
		l, err := w.handle.LinkByName("va")
		if err == nil {
			err = w.handle.LinkDel(l)
		}
		removed = err
	})
	errs := w.conn.Apply(t.Context(), rs)
	all.Wait()
	if removed != nil {
		t.Fatal(removed)
	}
	for i, err := range errs {
		if early := has && err == nil || !has && errors.Is(err, hwabstraction.ErrNotSupported); !early && !errors.Is(err, hwabstraction.ErrPortGone) {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	var e *Error
	if err := w.conn.Apply(t.Context(), rs[:1])[0]; !errors.Is(err, hwabstraction.ErrPortGone) || !errors.As(err, &e) || e.Gone != w.va {
		t.Errorf("afterwards: %v, want ErrPortGone of %d", err, w.va)
	}
	if got, err := w.conn.List(t.Context(), w.va); !errors.Is(err, hwabstraction.ErrPortGone) || len(got) > 0 {
		t.Errorf("%d filters are left, %v", len(got), err)
	}
	if errs := w.conn.Apply(t.Context(), requests(Delete, filtersOf(rs))); failed(errs) != nil {
		t.Errorf("deleting what is gone: %v", errors.Join(errs...))
	}
}

// passing tells when the second batch goes out.
type passing struct {
	socket
	sends  int
	second chan struct{}
}

func (p *passing) Send(b []byte) error {
	if p.sends++; p.sends == 2 {
		close(p.second)
	}
	return p.socket.Send(b)
}

// dropping gives requests an action that needs no other port.
func dropping(rs []Request) []Request {
	for i := range rs {
		rs[i].Filter.Actions = []flower.Action{flower.Drop{}}
	}
	return rs
}

func filtersOf(rs []Request) (list []flower.Filter) {
	for _, r := range rs {
		list = append(list, r.Filter)
	}
	return list
}
