package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/software"
	"github.com/dpmip/dpmip/internal/rtnl"
	"github.com/dpmip/dpmip/router"
	"github.com/dpmip/dpmip/router/fib"
	"github.com/dpmip/dpmip/testbed/netns"
)

// routeCount is how many host routes one batch has.
const routeCount = 10_000

var nextHop6 = netip.MustParseAddr("fd02::1")

// numbered is the i-th of many addresses.
func numbered(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfd, 0x77, 3: 1, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
}

// routeRig is a namespace with one way out, for route writers in turns.
type routeRig struct {
	ns    *netns.NS
	fd    *os.File
	index int
	plain *rtnl.Conn
	table *fib.FIB
	dev   *software.Device
	batch string // file for ip -batch
}

// hostRoutes compares the ways to write 10 000 host routes with ip -batch, the
// way that an operator has without us.
func hostRoutes(ctx context.Context, o *Options) (out []Figure, err error) {
	set, err := netns.Open("", "bench")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	r, err := newRouteRig(set)
	if err != nil {
		return nil, err
	}
	defer r.close()
	s, err := turns(ctx, o.rounds(10), r.timed(r.byBatch), r.timed(r.byFIB), r.timed(r.byDevice))
	if err != nil {
		return nil, err
	}
	ip, byFIB, byDevice := s[0], s[1], s[2]
	how := fmt.Sprintf("%d IPv6 host routes a round, in turns", routeCount)
	return []Figure{
		byFIB.over(ip).median("dpmip-router (router/fib) / ip -batch", "x").atLeast(8).note("%s", how),
		byDevice.over(ip).median("agent (software backend) / ip -batch", "x").atLeast(8).note("%s", how),
		ip.median("ip -batch", "routes/s"),
		byFIB.median("dpmip-router (router/fib)", "routes/s"),
		byDevice.median("agent (software backend)", "routes/s"),
	}, nil
}

func newRouteRig(set *netns.Set) (*routeRig, error) {
	hv, err := space(set, "hv", true)
	if err != nil {
		return nil, err
	}
	beyond, err := space(set, "beyond", false)
	if err != nil {
		return nil, err
	}
	if err := join(hv, "fab0", beyond, "far0"); err != nil {
		return nil, err
	}
	if err := hv.AddAddr("fab0", netip.MustParsePrefix("fd02::2/64")); err != nil {
		return nil, err
	}
	r := &routeRig{ns: hv, batch: filepath.Join(set.Dir(), "routes")}
	if r.index, err = hv.Index("fab0"); err != nil {
		return nil, err
	}
	if r.fd, err = os.Open(hv.Path()); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	err = hv.Do(func() error {
		if r.plain, err = rtnl.Dial(); err != nil {
			return err
		}
		r.table, err = fib.Open(fib.Metrics{})
		return err
	})
	if err != nil {
		return nil, err
	}
	dir, err := set.MountBPF("bpf")
	if err != nil {
		return nil, err
	}
	if r.dev, err = openDevice(r.fd, dir, 2*routeCount); err != nil {
		return nil, err
	}
	return r, r.writeBatch()
}

func (r *routeRig) close() {
	_ = r.plain.Close()
	_ = r.table.Close()
	_ = r.dev.Close()
	r.fd.Close()
}

func (r *routeRig) writeBatch() error {
	f, err := os.Create(r.batch)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	w := bufio.NewWriter(f)
	for i := range routeCount {
		fmt.Fprintf(w, "route add %s/128 via %s dev fab0 metric 20\n", numbered(i), nextHop6)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// timed makes a way of adding the routes: their rate. They must be there
// afterwards, and are deleted again, untimed.
func (r *routeRig) timed(add func() error) way {
	return func() (float64, error) {
		start := time.Now()
		if err := add(); err != nil {
			return 0, err
		}
		took := time.Since(start)
		return perSecond(routeCount, took), r.wipe()
	}
}

func (r *routeRig) byBatch() error {
	cmd := exec.Command("ip", "-6", "-batch", r.batch)
	cmd.Stderr = os.Stderr
	if err := r.ns.Run(cmd); err != nil {
		return fmt.Errorf("bench: ip -batch: %w", err)
	}
	return nil
}

func (r *routeRig) byFIB() error {
	chs := make([]router.Change, routeCount)
	for i := range chs {
		chs[i] = router.Change{Address: numbered(i), Locator: nextHop6}
	}
	return errors.Join(r.table.Apply(chs)...)
}

var routeStamp = hwabstraction.Stamp{Owner: [16]byte{2}, Epoch: 1}

func (r *routeRig) byDevice() error {
	chs := make([]hwabstraction.Change, routeCount)
	for i := range chs {
		chs[i] = hwabstraction.Put(hwabstraction.HostRoute{Stamp: routeStamp, Address: numbered(i), Locator: nextHop6, Metric: 20})
	}
	return applyAll(context.Background(), r.dev, chs)
}

// wipe deletes the routes, however they came, and fails if one was missing.
func (r *routeRig) wipe() error {
	chs := make([]rtnl.Change, routeCount)
	for i := range chs {
		chs[i] = rtnl.Change{Delete: true, Prefix: netip.PrefixFrom(numbered(i), 128), Device: r.index, Metric: 20}
	}
	have, err := r.count()
	if err != nil {
		return err
	}
	if err := errors.Join(r.plain.Apply(chs)...); err != nil {
		return err
	}
	if have != routeCount {
		return fmt.Errorf("bench: %d of %d routes were there", have, routeCount)
	}
	return r.forget()
}

// forget has device and FIB let go of routes that are gone already.
func (r *routeRig) forget() error {
	gone := make([]router.Change, routeCount)
	removed := make([]hwabstraction.Change, routeCount)
	for i := range gone {
		gone[i] = router.Change{Address: numbered(i)}
		removed[i] = hwabstraction.Remove(hwabstraction.HostRoute{Address: numbered(i)}.ID(), routeStamp)
	}
	return errors.Join(errors.Join(r.table.Apply(gone)...), applyAll(context.Background(), r.dev, removed))
}

// count is how many of the routes are in the kernel's table.
func (r *routeRig) count() (n int, err error) {
	b, err := r.ns.ReadFile("/proc/thread-self/net/ipv6_route")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) { // destination, prefix length, ...
		if bytes.HasPrefix(line, []byte("fd770001")) {
			n++
		}
	}
	return n, nil
}
