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

// ErrNoNextHop is wrapped where the kernel has no route to a locator, or only
// one that ends there (unreachable, blackhole).
var ErrNoNextHop = errors.New("fib: no next hop")

// nextHop is how a locator is reached.
type nextHop struct {
	via netip.Addr // the locator itself where it is on-link
	dev int
}

// FIB is the kernel's forwarding table as far as it is ours: the routes of
// rtm_protocol 201 with its metrics, so that several FIBs of different metrics
// live beside each other. It is used by one goroutine.
type FIB struct {
	conn    *rtnl.Conn
	handle  *netlink.Handle
	metrics Metrics
	want    map[netip.Addr]entry    // address -> what it should be
	strays  map[netip.Addr][]uint32 // metrics at which an earlier process had put a route that belongs at another
}

type entry struct {
	locator netip.Addr
	hop     nextHop
	failed  bool
	again   time.Time // a switch has refused it: not to be offered before
}

// held is a route of ours as the kernel has it.
type held struct {
	nextHop
	refused bool // by the switch that follows the kernel's table
}

// Open opens the table of the calling thread's network namespace. Routes of an
// earlier process whose rule has changed stay until their address is applied.
func Open(m Metrics) (*FIB, error) {
	conn, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("fib: %w", err)
	}
	f := &FIB{conn: conn, handle: h, metrics: m, want: map[netip.Addr]entry{}, strays: map[netip.Addr][]uint32{}}
	if len(m.Rules) == 0 {
		return f, nil // one metric: none can be astray
	}
	if err := f.findStrays(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *FIB) findStrays() error {
	have, err := installed(f.handle)
	if err != nil {
		return err
	}
	own := f.metrics.all()
	for at := range have {
		if at.metric != f.metrics.Of(at.address) && slices.Contains(own, at.metric) {
			f.strays[at.address] = append(f.strays[at.address], at.metric)
		}
	}
	return nil
}

// Close lets go of the table; the routes stay.
func (f *FIB) Close() error {
	f.handle.Close()
	return f.conn.Close()
}

// Apply makes the changes true and returns an error for each, nil where the
// kernel acknowledged, and the switch where one follows it (else ErrNotOffloaded).
// ErrFull is wrapped where there is no room. A change that fails is remembered
// and tried again by Refresh.
func (f *FIB) Apply(chs []router.Change) []error {
	errs := make([]error, len(chs))
	var batch []rtnl.Change
	var index []int
	hops := map[netip.Addr]hopResult{}
	for i, c := range chs {
		if !c.Locator.IsValid() {
			delete(f.want, c.Address)
			batch, index = append(batch, f.message(c.Address, nextHop{}, true)), append(index, i)
			continue
		}
		r := f.resolveOnce(hops, c.Locator)
		f.want[c.Address] = entry{locator: c.Locator, hop: r.hop, failed: r.err != nil}
		if r.err != nil {
			errs[i] = r.err
			continue
		}
		batch, index = append(batch, f.message(c.Address, r.hop, false)), append(index, i)
	}
	var offered []int // to a switch
	for k, err := range f.conn.Apply(batch) {
		i := index[k]
		if err == nil {
			if chs[i].Locator.IsValid() && hops[chs[i].Locator].followed {
				offered = append(offered, i)
			}
			continue
		}
		if errors.Is(err, rtnl.ErrFull) {
			err = fmt.Errorf("%w: %w", router.ErrFull, err)
		}
		errs[i] = err
		if e, ok := f.want[chs[i].Address]; ok {
			e.failed = true
			f.want[chs[i].Address] = e
		}
	}
	if len(offered) > 0 {
		f.withdrawRefused(chs, offered, errs)
	}
	f.removeStrays(chs, errs)
	return errs
}

// removeStrays takes away the routes at another metric of those addresses that
// are now as they should be.
func (f *FIB) removeStrays(chs []router.Change, errs []error) {
	if len(f.strays) == 0 {
		return
	}
	var batch []rtnl.Change
	var index []int
	for i, c := range chs {
		if errs[i] != nil {
			continue
		}
		for _, m := range f.strays[c.Address] {
			batch, index = append(batch, rtnl.Change{Delete: true, Prefix: netip.PrefixFrom(c.Address, c.Address.BitLen()), Metric: m}), append(index, i)
		}
	}
	for k, err := range f.conn.Apply(batch) {
		errs[index[k]] = errors.Join(errs[index[k]], err)
	}
	for i, c := range chs {
		if errs[i] == nil {
			delete(f.strays, c.Address)
		}
	}
}

// Leftovers lists the addresses that the kernel holds of this FIB's routes but
// nobody has asked for: those of an earlier process.
func (f *FIB) Leftovers() ([]netip.Addr, error) {
	have, err := installed(f.handle)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for at := range have {
		if _, ok := f.want[at.address]; !ok && at.metric == f.metrics.Of(at.address) {
			out = append(out, at.address)
		}
	}
	return out, nil
}

type hopResult struct {
	hop      nextHop
	err      error
	followed bool // a switch follows the kernel's table there
}

func (f *FIB) resolveOnce(memo map[netip.Addr]hopResult, locator netip.Addr) hopResult {
	r, ok := memo[locator]
	if !ok {
		r.hop, r.err = f.resolve(locator)
		r.followed = r.err == nil && f.followed(locator)
		memo[locator] = r
	}
	return r
}

// resolve asks the kernel which way a packet to the locator would take.
func (f *FIB) resolve(locator netip.Addr) (nextHop, error) {
	rs, err := f.handle.RouteGet(net.IP(locator.AsSlice()))
	if err != nil {
		return nextHop{}, fmt.Errorf("%w for locator %s: %v", ErrNoNextHop, locator, err)
	}
	for _, r := range rs {
		if r.Type != unix.RTN_UNICAST || r.LinkIndex == 0 {
			continue
		}
		hop := nextHop{via: locator, dev: r.LinkIndex}
		if gw, ok := netip.AddrFromSlice(r.Gw); ok {
			hop.via = gw.Unmap()
		}
		return hop, nil
	}
	return nextHop{}, fmt.Errorf("%w for locator %s: the kernel's route ends here", ErrNoNextHop, locator)
}

func (f *FIB) message(a netip.Addr, hop nextHop, remove bool) rtnl.Change {
	return rtnl.Change{Delete: remove, Prefix: netip.PrefixFrom(a, a.BitLen()), NextHop: hop.via, Device: hop.dev, Metric: f.metrics.Of(a)}
}

// Refresh looks every locator up again, reads the kernel's table and mends
// what differs. It returns what became of each address that needed anything.
func (f *FIB) Refresh() ([]router.Moved, error) {
	have, err := installed(f.handle)
	if err != nil {
		return nil, err
	}
	var chs []router.Change
	hops := map[netip.Addr]hopResult{}
	now := time.Now()
	for a, e := range f.want {
		r := f.resolveOnce(hops, e.locator)
		if r.err == nil && !e.failed && have[place{a, f.metrics.Of(a)}] == (held{nextHop: r.hop}) || now.Before(e.again) {
			continue
		}
		if r.err != nil && e.failed {
			continue // still no way there: said before
		}
		chs = append(chs, router.Change{Address: a, Locator: e.locator})
	}
	var moved []router.Moved
	for i, err := range f.Apply(chs) {
		moved = append(moved, router.Moved{Address: chs[i].Address, Err: err})
	}
	return moved, nil
}

// place is where the kernel keeps a host route: one for each metric.
type place struct {
	address netip.Addr
	metric  uint32
}

// installed reads our routes, of whatever metric, back from the kernel.
func installed(h *netlink.Handle) (map[place]held, error) {
	out := map[place]held{}
	for _, fam := range []int{unix.AF_INET6, unix.AF_INET} {
		rs, err := h.RouteListFiltered(fam, &netlink.Route{Protocol: rtnl.Protocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return nil, fmt.Errorf("fib: reading the kernel's routes: %w", err)
		}
		for _, r := range rs {
			if r.Dst == nil {
				continue
			}
			a, ok := netip.AddrFromSlice(r.Dst.IP)
			if ones, bits := r.Dst.Mask.Size(); !ok || ones != bits {
				continue
			}
			via, _ := netip.AddrFromSlice(r.Gw)
			out[place{a.Unmap(), uint32(r.Priority)}] = held{nextHop: nextHop{via: via.Unmap(), dev: r.LinkIndex}, refused: r.Flags&unix.RTM_F_OFFLOAD_FAILED != 0}
		}
	}
	return out, nil
}

// Read tells what the kernel holds of ours right now, in the calling thread's
// namespace, by address: what is where m has it (nil: whatever it uses, the
// lowest metric).
func Read(m *Metrics) (map[netip.Addr]Installed, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("fib: %w", err)
	}
	defer h.Close()
	have, err := installed(h)
	if err != nil {
		return nil, err
	}
	out := make(map[netip.Addr]Installed, len(have))
	for at, hop := range have {
		if other, ok := out[at.address]; ok && other.Metric < at.metric || m != nil && at.metric != m.Of(at.address) {
			continue
		}
		out[at.address] = Installed{NextHop: hop.via, Device: hop.dev, Metric: at.metric}
	}
	return out, nil
}

// Installed is one route as the kernel has it.
type Installed struct {
	NextHop netip.Addr
	Device  int
	Metric  uint32
}
