package fib

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Journal remembers since when each host route (/128 or /32 of the main table)
// has been in the kernel, whoever put it there, and wakes those who wait for a
// change. It is safe for concurrent use once Run has started.
type Journal struct {
	ready chan struct{}

	mu      sync.Mutex // guards the fields below
	since   map[routeKey]time.Time
	changed chan struct{} // closed and replaced at each change
}

// routeKey is what makes a route another one for the kernel.
type routeKey struct {
	prefix   netip.Prefix
	protocol int
	metric   int
}

// NewJournal returns a Journal that knows nothing until it runs.
func NewJournal() *Journal {
	return &Journal{ready: make(chan struct{}), since: map[routeKey]time.Time{}, changed: make(chan struct{})}
}

// String names the task.
func (j *Journal) String() string { return "route journal" }

// Ready is closed when every change is seen from now on.
func (j *Journal) Ready() <-chan struct{} { return j.ready }

// Changed returns a channel that is closed at the next change of any route.
// Take it before looking, so that no change falls in between.
func (j *Journal) Changed() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changed
}

// Since tells when the route appeared; zero: before the Journal ran, or it is
// not there.
func (j *Journal) Since(r Found) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.since[routeKey{r.Prefix, r.Protocol, r.Metric}]
}

// Run follows the kernel until ctx ends, in the network namespace it was
// started in. Where the kernel had to drop notices the times of routes that
// have gone meanwhile may stay; the kernel's own word is Lookup.
func (j *Journal) Run(ctx context.Context) error {
	for first := true; ctx.Err() == nil; first = false {
		if err := j.follow(ctx, first); err != nil {
			return err
		}
	}
	return nil
}

// follow is one subscription; it ends without an error when notices were lost.
func (j *Journal) follow(ctx context.Context, first bool) error {
	stop, failed := make(chan struct{}), make(chan struct{}, 1)
	updates := make(chan netlink.RouteUpdate, 4096)
	err := netlink.RouteSubscribeWithOptions(updates, stop, netlink.RouteSubscribeOptions{
		ReceiveBufferSize: 8 << 20,
		ErrorCallback: func(error) {
			select {
			case failed <- struct{}{}:
			default:
			}
		}})
	if err != nil {
		close(stop)
		return fmt.Errorf("fib: watching routes: %w", err)
	}
	defer func() {
		close(stop)
		go drain(updates)
	}()
	if first {
		close(j.ready)
	} else {
		j.note(func() {}) // something may have changed unseen
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-failed:
			return nil
		case u, ok := <-updates:
			if !ok {
				return nil
			}
			j.take(u, time.Now())
		}
	}
}

func (j *Journal) take(u netlink.RouteUpdate, now time.Time) {
	key, ok := keyOf(&u.Route)
	j.note(func() {
		switch {
		case !ok:
		case u.Type == unix.RTM_DELROUTE:
			delete(j.since, key)
		case j.since[key].IsZero(): // else replaced: it has been there
			j.since[key] = now
		}
	})
}

// note changes the record and wakes who waits.
func (j *Journal) note(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f()
	close(j.changed)
	j.changed = make(chan struct{})
}

func keyOf(r *netlink.Route) (routeKey, bool) {
	p, ok := prefixOf(r)
	if !ok || !p.IsSingleIP() || r.Table != unix.RT_TABLE_MAIN {
		return routeKey{}, false
	}
	return routeKey{p, int(r.Protocol), r.Priority}, true
}

func prefixOf(r *netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	if a.Is4In6() {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, ones), ok
}
