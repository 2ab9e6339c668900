package fib

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/internal/rtnl"
	"github.com/dpmip/dpmip/router"
)

// ErrNotOffloaded is wrapped where the switch that follows the kernel's table
// has refused a route (RTM_F_OFFLOAD_FAILED). Its hardware would forward by a
// wider route what the kernel has a host route for, so that the route is taken
// out of the kernel again: nobody must announce it.
var ErrNotOffloaded = errors.New("fib: the switch does not take the route")

const (
	verdictTime = 250 * time.Millisecond // a switch may take so long to say whether it takes routes
	verdictStep = time.Millisecond       // between two looks
	offerAgain  = 5 * time.Second        // Refresh offers a refused route again, not sooner
)

// verdict are the flags by which a switch says what became of a route.
const verdict = unix.RTM_F_OFFLOAD | unix.RTM_F_TRAP | unix.RTM_F_OFFLOAD_FAILED

// followed reports whether a switch follows the kernel's table: it has marked
// the route that a packet to the address takes.
func (f *FIB) followed(a netip.Addr) bool {
	flags, _, err := f.flags(a)
	return err == nil && flags&verdict != 0
}

// flags are those of the route that a packet to the address takes, RTM_F_*, and
// whether that is our host route.
func (f *FIB) flags(a netip.Addr) (flags int, ours bool, err error) {
	rs, err := f.handle.RouteGetWithOptions(net.IP(a.AsSlice()), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil || len(rs) == 0 {
		return 0, false, err
	}
	p, ok := prefixOf(&rs[0])
	return rs[0].Flags, ok && p.IsSingleIP() && rs[0].Protocol == rtnl.Protocol && rs[0].Priority == int(f.metrics.Of(a)), nil
}

// refused waits for the switch's word on routes that the kernel has taken, at
// most verdictTime, and returns those that it refuses. Where it says nothing the
// route stands: Refresh looks again.
func (f *FIB) refused(asked []netip.Addr) (no []netip.Addr) {
	for end := time.Now().Add(verdictTime); ; time.Sleep(verdictStep) {
		asked = slices.DeleteFunc(asked, func(a netip.Addr) bool {
			flags, ours, err := f.flags(a)
			if err == nil && ours && flags&unix.RTM_F_OFFLOAD_FAILED != 0 {
				no = append(no, a)
			}
			return err != nil || !ours || flags&verdict != 0
		})
		if len(asked) == 0 || !time.Now().Before(end) {
			return no
		}
	}
}

// withdrawRefused takes what the switch has refused of the changes out of the
// kernel, and notes it in errs. index tells which changes the kernel has taken
// on links that a switch follows.
func (f *FIB) withdrawRefused(chs []router.Change, index []int, errs []error) {
	at := make(map[netip.Addr]int, len(index))
	asked := make([]netip.Addr, 0, len(index))
	for _, i := range index {
		at[chs[i].Address] = i
		asked = append(asked, chs[i].Address)
	}
	no := f.refused(asked)
	batch := make([]rtnl.Change, len(no))
	for k, a := range no {
		batch[k] = f.message(a, nextHop{}, true)
		e := f.want[a]
		e.failed, e.again = true, time.Now().Add(offerAgain)
		f.want[a] = e
		errs[at[a]] = fmt.Errorf("%w to %s", ErrNotOffloaded, a)
	}
	for k, err := range f.conn.Apply(batch) {
		if err != nil {
			i := at[no[k]]
			errs[i] = fmt.Errorf("%w, and it stays in the kernel: %w", errs[i], err)
		}
	}
}
