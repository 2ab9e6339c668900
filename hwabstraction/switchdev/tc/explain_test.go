package tc

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// TestGone tells the port that is gone from the one that is redirected to, and
// both from a driver that misses something else.
func TestGone(t *testing.T) {
	t.Parallel()
	k := newFake(3, 5)
	k.noTarget = true
	rs := append(puts(Put, 3, 1), puts(Put, 4, 1)...)
	rs = append(rs, Request{Put, number(3, 2)})
	rs[2].Filter.Actions = []flower.Action{flower.Redirect{Port: 5}}
	errs := newConn(k, k).Apply(t.Context(), rs)
	if err := errs[2]; !errors.Is(err, hwabstraction.ErrNotSupported) || errors.Is(err, hwabstraction.ErrPortGone) || !Unfit(err) {
		t.Errorf("both ports are there, and the error is %v", err)
	}
	for i, port := range []int32{7, 4} {
		var e *Error
		if !errors.Is(errs[i], hwabstraction.ErrPortGone) || !errors.As(errs[i], &e) || e.Gone != port {
			t.Errorf("request %d: %v, want ErrPortGone of port %d", i, errs[i], port)
		}
	}
}

func TestDetached(t *testing.T) {
	t.Parallel()
	k := newFake(3)
	k.qdiscs[3] = ""
	c := newConn(k, k)
	errs := c.Apply(t.Context(), append(puts(Put, 3, 2), puts(Delete, 3, 2)...))
	if diff := cmp.Diff([]int{0, 1}, failed(errs)); diff != "" || !errors.Is(errs[0], ErrDetached) || !errors.Is(errs[0], unix.EINVAL) {
		t.Errorf("failed (-want +got):\n%s%v", diff, errs)
	}
	if got, err := c.List(t.Context(), 3); err != nil || len(got) != 0 {
		t.Errorf("list: %v, %v", got, err)
	}
	if err := c.Attach(3); err != nil {
		t.Fatal(err)
	}
	if errs := c.Apply(t.Context(), puts(Put, 3, 2)); failed(errs) != nil {
		t.Errorf("attached: %v", errors.Join(errs...))
	}
}
