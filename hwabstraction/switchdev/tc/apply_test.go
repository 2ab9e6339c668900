package tc

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// number is the n-th of many filters of a port; n is its handle.
func number(port int32, n int) flower.Filter {
	return flower.Filter{
		Port: port, Chain: 1, Priority: 10, Handle: uint32(n), SkipHW: true,
		Match:   flower.Match{SourceMAC: flower.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)}},
		Actions: []flower.Action{flower.Rewrite{Hop: true}, flower.Redirect{Port: 7}}, Cookie: []byte{0xd9, 1},
	}
}

// puts asks for the filters 1 to n.
func puts(op Op, port int32, n int) []Request {
	list := make([]Request, n)
	for i := range list {
		list[i] = Request{op, number(port, i+1)}
	}
	return list
}

func numbers(from, to int) (list []uint32) {
	for n := from; n <= to; n++ {
		list = append(list, uint32(n))
	}
	return list
}

// failed are the indices of the errors.
func failed(errs []error) (list []int) {
	for i, err := range errs {
		if err != nil {
			list = append(list, i)
		}
	}
	return list
}

func TestApplyInBatches(t *testing.T) {
	t.Parallel()
	k := newFake(3)
	c := newConn(k, k)
	n := maxBatch + 44
	if errs := c.Apply(t.Context(), puts(Put, 3, n)); failed(errs) != nil {
		t.Fatal(errors.Join(errs...))
	}
	if diff := cmp.Diff([]int{maxBatch, 44}, k.sends); diff != "" {
		t.Errorf("messages in each send (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(numbers(1, n), k.handles()); diff != "" {
		t.Errorf("handles (-want +got):\n%s", diff)
	}
	got, err := c.List(t.Context(), 3)
	if err != nil || len(got) != n {
		t.Fatalf("%d filters listed, %v; want %d", len(got), err, n)
	}
	for i, s := range got {
		if !s.Holds(number(3, i+1)) {
			t.Errorf("filter %d was put and is %+v", i+1, s)
		}
	}
	deletes := puts(Delete, 3, n+5) // the last five are not there
	if errs := c.Apply(t.Context(), deletes); failed(errs) != nil || len(k.rows) != 0 {
		t.Errorf("%d filters left: %v", len(k.rows), errors.Join(errs...))
	}
	if err := c.Close(); err != nil || !k.closed {
		t.Errorf("the socket stays open: %v", err)
	}
	if err := c.Apply(t.Context(), puts(Put, 3, 1))[0]; !errors.Is(err, hwabstraction.ErrClosed) {
		t.Errorf("put after Close: %v", err)
	}
	if _, err := c.List(t.Context(), 3); !errors.Is(err, hwabstraction.ErrClosed) {
		t.Errorf("list after Close: %v", err)
	}
}

func TestApplyRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		errno syscall.Errno
		want  error
		unfit bool
	}{
		"no feature":    {unix.EOPNOTSUPP, hwabstraction.ErrNotSupported, true},
		"no classifier": {unix.ENOENT, hwabstraction.ErrNotSupported, true},
		"no room":       {unix.ENOSPC, hwabstraction.ErrTableFull, true},
		"no memory":     {unix.ENOMEM, hwabstraction.ErrTableFull, true},
		"busy":          {unix.EBUSY, unix.EBUSY, true},
		"no port":       {unix.ENODEV, hwabstraction.ErrPortGone, false},
		"exists":        {unix.EEXIST, unix.EEXIST, false},
		"invalid":       {unix.EINVAL, unix.EINVAL, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newFake(3)
			k.reason = "because of " + name
			k.fail[2], k.fail[4] = tc.errno, tc.errno // in the middle, and the last one
			errs := newConn(k, k).Apply(t.Context(), puts(Put, 3, 4))
			if diff := cmp.Diff([]int{1, 3}, failed(errs)); diff != "" {
				t.Fatalf("failed (-want +got):\n%s", diff)
			}
			for _, i := range []int{1, 3} {
				var e *Error
				if err := errs[i]; !errors.Is(err, tc.want) || !errors.Is(err, tc.errno) || !errors.As(err, &e) || e.Reason != k.reason {
					t.Errorf("error %v, want one of %v with the kernel's reason", err, tc.want)
				}
				if Unfit(errs[i]) != tc.unfit {
					t.Errorf("unfit: %v, want %v", !tc.unfit, tc.unfit)
				}
			}
			if diff := cmp.Diff([]uint32{1, 3}, k.handles()); diff != "" {
				t.Errorf("handles (-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyInvalid(t *testing.T) {
	t.Parallel()
	k := newFake(3)
	rs := puts(Put, 3, 4)
	rs[0].Filter.Priority = 0
	rs[1].Op = 0
	rs[3].Filter.Actions = nil
	errs := newConn(k, k).Apply(t.Context(), rs)
	if diff := cmp.Diff([]int{0, 1, 3}, failed(errs)); diff != "" {
		t.Fatalf("failed (-want +got):\n%s", diff)
	}
	for _, i := range []int{0, 1, 3} {
		if !errors.Is(errs[i], hwabstraction.ErrInvalidRule) {
			t.Errorf("error %v, want ErrInvalidRule", errs[i])
		}
	}
	if diff := cmp.Diff([]uint32{3}, k.handles()); diff != "" {
		t.Errorf("handles (-want +got):\n%s", diff)
	}
	if errs := newConn(k, k).Apply(t.Context(), []Request{rs[0]}); len(k.sends) != 1 || errs[0] == nil {
		t.Errorf("%v; %d sends, want none for nothing", errs, len(k.sends)-1)
	}
}

// slowly is a socket that sends when it is told to, and says what it has sent.
type slowly struct {
	*fakeKernel
	may   chan struct{}
	ports []int32 // of each batch
}

func (s *slowly) Send(b []byte) error {
	<-s.may
	s.ports = append(s.ports, int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr+4:])))
	return s.fakeKernel.Send(b)
}

// TestApplyTakesTurns: one request waits for the batch that is on its way, not
// for all others that are to follow it.
func TestApplyTakesTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slowly{fakeKernel: newFake(3, 4), may: make(chan struct{})}
		c := newConn(s, s)
		var all sync.WaitGroup
		all.Go(func() { c.Apply(t.Context(), puts(Put, 3, 4*maxBatch)) })
		synctest.Wait()
		all.Go(func() { c.Apply(t.Context(), puts(Put, 4, 1)) })
		for range 5 {
			synctest.Wait()
			s.may <- struct{}{}
		}
		all.Wait()
		if diff := cmp.Diff([]int32{3, 4, 3, 3, 3}, s.ports); diff != "" {
			t.Errorf("ports of the batches (-want +got):\n%s", diff)
		}
	})
}

func TestApplyDone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k := newFake(3)
	errs := newConn(k, k).Apply(ctx, puts(Put, 3, 3))
	if len(failed(errs)) != 3 || !errors.Is(errs[2], context.Canceled) || len(k.sends) > 0 {
		t.Errorf("%v after %d sends", errs, len(k.sends))
	}
}

// TestApplySurvives lets answers, parts of batches and whole sends be lost: the
// tables are right afterwards, and each request has its own error.
func TestApplySurvives(t *testing.T) {
	t.Parallel()
	const n = 300
	for name, spoil := range map[string]func(*fakeKernel){
		"answers lost":             func(k *fakeKernel) { k.loses = 1 },
		"answers lost again":       func(k *fakeKernel) { k.loses = 5 },
		"part of a batch":          func(k *fakeKernel) { k.stopAfter, k.stops = 100, 1 },
		"parts again and again":    func(k *fakeKernel) { k.stopAfter, k.stops = 3, 50 },
		"no memory to send":        func(k *fakeKernel) { k.mostSent = 30 },
		"lost and the dump cut":    func(k *fakeKernel) { k.loses, k.interrupt = 1, 3 },
		"no memory, and then lost": func(k *fakeKernel) { k.mostSent, k.loses = 7, 2 },
	} {
		for _, op := range []Op{Put, Replace} {
			t.Run(name+" "+op.String(), func(t *testing.T) {
				t.Parallel()
				k := newFake(3)
				spoil(k)
				k.fail[50], k.fail[299] = unix.ENOSPC, unix.EOPNOTSUPP
				c := newConn(k, k)
				errs := c.Apply(t.Context(), puts(op, 3, n))
				if diff := cmp.Diff([]int{49, 298}, failed(errs)); diff != "" {
					t.Fatalf("failed (-want +got):\n%s\n%v", diff, errors.Join(errs...))
				}
				if got := c.Mended(); (got["batch_unanswered"] > 0) != (k.mostSent == 0 || strings.Contains(name, "lost")) || (got["batch_too_large"] > 0) != (k.mostSent > 0) {
					t.Errorf("counted %v", got)
				}
				if !errors.Is(errs[49], hwabstraction.ErrTableFull) || !errors.Is(errs[298], hwabstraction.ErrNotSupported) {
					t.Errorf("%v; %v", errs[49], errs[298])
				}
				want := slices.DeleteFunc(numbers(1, n), func(h uint32) bool { return h == 50 || h == 299 })
				if diff := cmp.Diff(want, k.handles()); diff != "" {
					t.Errorf("handles (-want +got):\n%s", diff)
				}
				spoil(k)
				if errs := c.Apply(t.Context(), puts(Delete, 3, n)); failed(errs) != nil || len(k.rows) > 0 {
					t.Errorf("%d left: %v", len(k.rows), errors.Join(errs...))
				}
			})
		}
	}
}

// TestLostReplacements: of several requests for one handle whose answers are
// lost, the last one is what is left, and none before it comes back.
func TestLostReplacements(t *testing.T) {
	t.Parallel()
	k := newFake(3)
	k.loses = 1
	var rs []Request
	for chain := range uint32(5) {
		f := number(3, 1)
		f.Actions = []flower.Action{flower.Goto{Chain: chain}}
		rs = append(rs, Request{Replace, f})
	}
	rs = append(rs, Request{Replace, number(3, 2)}, Request{Delete, number(3, 2)})
	c := newConn(k, k)
	if errs := c.Apply(t.Context(), rs); failed(errs) != nil {
		t.Fatal(errors.Join(errs...))
	}
	got, err := c.List(t.Context(), 3)
	if err != nil || len(got) != 1 || !got[0].Holds(rs[4].Filter) {
		t.Errorf("%+v, %v", got, err)
	}
	if n := len(k.sends); n != 2+1 { // the batch, the dump that settles it, and ours
		t.Errorf("%d sends, want 3: nothing was to be sent again", n)
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	k := newFake(3)
	k.loses = 1000
	k.fail[1] = unix.EIO
	errs := newConn(k, k).Apply(t.Context(), puts(Put, 3, 2))
	if diff := cmp.Diff([]int{0}, failed(errs)); diff != "" || !errors.Is(errs[0], errSilent) {
		t.Errorf("failed (-want +got):\n%s%v", diff, errs)
	}
	k.sendError = unix.EPERM
	errs = newConn(k, k).Apply(t.Context(), puts(Put, 3, 2))
	if len(failed(errs)) != 2 || !errors.Is(errs[1], unix.EPERM) {
		t.Errorf("%v", errs)
	}
}

// TestPortVanishes takes the port away in the middle of a batch, with and
// without the answers.
func TestPortVanishes(t *testing.T) {
	t.Parallel()
	for _, loses := range []int{0, 1} {
		k := newFake(3, 4)
		k.vanishAt, k.loses = 20, loses
		c := newConn(k, k)
		rs := append(puts(Put, 3, 40), puts(Put, 4, 19)...)
		errs := c.Apply(t.Context(), rs)
		for i, err := range errs {
			switch on3 := rs[i].Filter.Port == 3; {
			case !on3 && err != nil:
				t.Errorf("request %d for the other port: %v", i, err)
			case on3 && i >= 19 && !errors.Is(err, hwabstraction.ErrPortGone):
				t.Errorf("request %d for the port: %v", i, err)
			}
		}
		if diff := cmp.Diff(numbers(1, 19), k.handles()); diff != "" {
			t.Errorf("handles of the other port (-want +got):\n%s", diff)
		}
		if _, err := c.List(t.Context(), 3); !errors.Is(err, hwabstraction.ErrPortGone) {
			t.Errorf("list: %v", err)
		}
		if errs := c.Apply(t.Context(), puts(Delete, 3, 40)); failed(errs) != nil {
			t.Errorf("deleting from a port that is gone: %v", errors.Join(errs...))
		}
	}
}

func TestAttach(t *testing.T) {
	t.Parallel()
	k := newFake(1, 2, 3)
	k.qdiscs[2], k.qdiscs[4] = "ingress", ""
	k.blocks = map[int32]bool{3: true}
	c := newConn(k, k)
	for port, want := range map[int32]error{1: nil, 2: ErrForeign, 3: ErrForeign, 4: nil, 5: hwabstraction.ErrPortGone} {
		if err := c.Attach(port); !errors.Is(err, want) {
			t.Errorf("port %d: %v, want %v", port, err, want)
		}
	}
	if k.qdiscs[4] != "clsact" {
		t.Errorf("port 4 has %q", k.qdiscs[4])
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(*fakeKernel)
		count int
		want  string // in the error; "" = none
	}{
		"whole":             {func(k *fakeKernel) {}, 5, ""},
		"interrupted":       {func(k *fakeKernel) { k.interrupt = tries - 1 }, 5, ""},
		"interrupted again": {func(k *fakeKernel) { k.interrupt = tries }, 0, "not whole, 8 times"},
		"answers lost":      {func(k *fakeKernel) { k.errs = []error{unix.ENOBUFS} }, 5, ""},
		"cut datagram":      {func(k *fakeKernel) { k.spoil = func(b []byte) []byte { return b[:len(b)-8] } }, 0, "truncated message"},
		"lying length": {func(k *fakeKernel) {
			k.spoil = func(b []byte) []byte {
				b[36] = 0xff // of the first attribute
				return b
			}
		}, 0, "flower: "},
		"of another conversation": {func(k *fakeKernel) {
			k.spoil = func(b []byte) []byte {
				b[8]++ // the sequence number of the first of two, two and one
				return b
			}
		}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newFake(3)
			c := newConn(k, k)
			c.Apply(t.Context(), puts(Put, 3, 5))
			tc.spoil(k)
			got, err := c.List(t.Context(), 3)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) || len(got) != tc.count {
				t.Errorf("%d filters, %v; want %d, an error with %q", len(got), err, tc.count, tc.want)
			}
		})
	}
}
