package rig

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
)

// Observer sees the host routes of a namespace's kernel come and go, by the
// kernel's own notices.
type Observer struct {
	stop chan struct{}
	done chan struct{}
	fd   vns.NsHandle

	mu      sync.Mutex // guards the fields below
	routes  map[netip.Addr]int
	at      map[netip.Addr]time.Time // of the last change
	changed chan struct{}            // closed and replaced at each change
	err     error
}

// Observe starts to watch. Close it.
func Observe(ns *netns.NS) (*Observer, error) {
	fd, err := vns.GetFromPath(ns.Path())
	if err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	o := &Observer{stop: make(chan struct{}), done: make(chan struct{}), fd: fd, routes: map[netip.Addr]int{}, at: map[netip.Addr]time.Time{}, changed: make(chan struct{})}
	updates := make(chan netlink.RouteUpdate, 4096)
	err = netlink.RouteSubscribeWithOptions(updates, o.stop, netlink.RouteSubscribeOptions{
		Namespace: &o.fd, ReceiveBufferSize: 16 << 20, ReceiveBufferForceSize: true, ErrorCallback: o.fail,
	})
	if err != nil {
		fd.Close()
		return nil, fmt.Errorf("rig: watching %s: %w", ns.Name(), err)
	}
	go func() {
		defer close(o.done)
		for u := range updates {
			o.take(&u)
		}
	}()
	return o, nil
}

// Close ends it.
func (o *Observer) Close() error {
	close(o.stop)
	<-o.done
	return o.fd.Close()
}

func (o *Observer) fail(err error) {
	o.note(func() { o.err = err })
}

func (o *Observer) note(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *Observer) take(u *netlink.RouteUpdate) {
	now := time.Now()
	if u.Dst == nil || u.Table != unix.RT_TABLE_MAIN {
		return
	}
	ones, bits := u.Dst.Mask.Size()
	a, ok := netip.AddrFromSlice(u.Dst.IP)
	if !ok || ones != bits {
		return
	}
	a = a.Unmap()
	o.note(func() {
		switch {
		case u.Type == unix.RTM_DELROUTE:
			delete(o.routes, a)
		default:
			o.routes[a] = int(u.Protocol)
		}
		o.at[a] = now
	})
}

// Await blocks until the host route is there (or not), and tells since when.
func (o *Observer) Await(ctx context.Context, a netip.Addr, there bool) (time.Time, error) {
	return o.AwaitAll(ctx, []netip.Addr{a}, there)
}

// AwaitAll is Await for many; it tells when the last one changed.
func (o *Observer) AwaitAll(ctx context.Context, as []netip.Addr, there bool) (time.Time, error) {
	for {
		missing, last, changed, err := o.look(as, there)
		if missing == 0 || err != nil {
			return last, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("rig: %d of %d host routes (%s ...): there = %v did not come: %w", missing, len(as), as[0], there, ctx.Err())
		}
	}
}

func (o *Observer) look(as []netip.Addr, there bool) (missing int, last time.Time, changed <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range as {
		if _, has := o.routes[a]; has != there {
			missing++
		}
		if t := o.at[a]; t.After(last) {
			last = t
		}
	}
	return missing, last, o.changed, o.err
}

// Protocol is the rtm_protocol of a host route; 0: it is not there.
func (o *Observer) Protocol(a netip.Addr) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.routes[a]
}
