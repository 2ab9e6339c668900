package rtnl

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNamespace runs the test in a network namespace of its own, on a thread
// that is thrown away afterwards.
func inNamespace(t testing.TB, body func(lo int)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test needs root to make a network namespace")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			t.Errorf("lo: %v", err)
			return
		}
		body(lo.Attrs().Index)
	}()
	<-done
}

func routes(n int, lo int) []Change {
	out := make([]Change, n)
	for i := range out {
		a := netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x:%x", i>>16+1, i&0xffff))
		out[i] = Change{Prefix: netip.PrefixFrom(a, 128), Device: lo, Metric: 20}
	}
	return out
}

func TestApplyAddsReplacesAndDeletes(t *testing.T) {
	inNamespace(t, func(lo int) {
		c, err := Dial()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		want := routes(1000, lo)
		want = append(want, Change{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Unreachable: true},
			Change{Prefix: netip.MustParsePrefix("10.8.0.1/32"), Device: lo})
		for range 2 { // the second time replaces
			for i, err := range c.Apply(want) {
				if err != nil {
					t.Errorf("%v: %v", want[i].Prefix, err)
				}
			}
		}
		if n := count(t); n != len(want) {
			t.Errorf("%d routes with protocol %d in the kernel, want %d", n, Protocol, len(want))
		}
		for i := range want {
			want[i].Delete = true
		}
		for range 2 { // the second time finds nothing, and that is no error
			for i, err := range c.Apply(want) {
				if err != nil {
					t.Errorf("delete %v: %v", want[i].Prefix, err)
				}
			}
		}
		if n := count(t); n != 0 {
			t.Errorf("%d routes left", n)
		}
	})
}

func TestApplyMatchesErrorsToChanges(t *testing.T) {
	inNamespace(t, func(lo int) {
		c, err := Dial()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		chs := routes(600, lo)
		chs[3].Device = 4711
		chs[300].NextHop = netip.MustParseAddr("2001:db8:ffff::1") // not on-link
		chs[599].Device = 4711
		for i, err := range c.Apply(chs) {
			bad := i == 3 || i == 300 || i == 599
			if (err != nil) != bad {
				t.Errorf("change %d: err = %v", i, err)
			}
			var errno syscall.Errno
			if bad && !errors.As(err, &errno) {
				t.Errorf("change %d: %v does not wrap an errno", i, err)
			}
		}
		if n := count(t); n != 597 {
			t.Errorf("%d routes, want 597", n)
		}
	})
}

func count(t *testing.T) int {
	n := 0
	for _, fam := range []int{unix.AF_INET, unix.AF_INET6} {
		rs, err := netlink.RouteListFiltered(fam, &netlink.Route{Protocol: Protocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			t.Error(err)
		}
		n += len(rs)
	}
	return n
}

func BenchmarkApply10k(b *testing.B) {
	inNamespace(b, func(lo int) {
		c, err := Dial()
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		chs := routes(10000, lo)
		for b.Loop() {
			for i := range chs {
				chs[i].Delete = false
			}
			c.Apply(chs)
			b.StopTimer()
			for i := range chs {
				chs[i].Delete = true
			}
			c.Apply(chs)
			b.StartTimer()
		}
		b.ReportMetric(float64(len(chs)*b.N)/b.Elapsed().Seconds(), "routes/s")
	})
}
