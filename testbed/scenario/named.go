package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/topology"
	"github.com/dpmip/dpmip/testbed/traffic"
)

const (
	portNamed = 7600 // where the VM serves those who come by name
	// namedEvery is the interval of their connections.
	namedEvery = 10 * time.Millisecond
	// namedSpan is the length of time that is counted together.
	namedSpan = 250 * time.Millisecond
	// namedPatience lets a first SYN be lost and repeated.
	namedPatience = 3 * time.Second
	// namedEnough connections in a row that went direct: all clients do.
	namedEnough = 20
)

// named are clients at the correspondent node that know the VM by its name: a
// resolver with a cache, and a new connection every few milliseconds.
type named struct {
	service *NameService
	server  *traffic.Service
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex // guards tries
	tries []namedTry
}

// namedTry is one new connection by name.
type namedTry struct {
	at       time.Duration
	to       netip.Addr
	accepted bool
	err      error
}

// begin starts the clients, once.
func (n *named) begin(ctx context.Context, r *run) error {
	if n.server != nil {
		return nil
	}
	var err error
	wildcard := netip.AddrPortFrom(netip.IPv6Unspecified(), portNamed)
	if n.server, err = traffic.Serve(ctx, r.dc.Lab.Node(mover).NS, wildcard); err != nil {
		return err
	}
	ctx, n.stop = context.WithCancel(ctx)
	family := r.o.families()[0]
	n.running.Go(func() { n.open(ctx, r, family) })
	r.undo = append(r.undo, func() error {
		n.stop()
		n.running.Wait()
		return n.server.Close()
	})
	return nil
}

// open opens connections until ctx ends.
func (n *named) open(ctx context.Context, r *run, family int) {
	from := r.dc.Lab.Endpoint(topology.CN, family, 0)
	var (
		to    netip.Addr
		until time.Duration
	)
	tick := time.NewTicker(namedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if at := clock.Now(); at >= until {
			addrs, ttl, err := n.service.Addresses(ctx, family)
			if err != nil || len(addrs) == 0 {
				n.note(ctx, namedTry{at: at, err: fmt.Errorf("no address: %w", err)})
				continue
			}
			to, until = addrs[0], at+ttl
		}
		target := to
		n.running.Go(func() {
			a := traffic.Try(ctx, traffic.AttemptConfig{Network: "tcp", From: from, To: netip.AddrPortFrom(target, portNamed), Timeout: namedPatience})
			n.note(ctx, namedTry{a.At, target, a.Outcome == traffic.Accepted, a.Err})
		})
	}
}

// note keeps a try, unless the run's end cut it off.
func (n *named) note(ctx context.Context, t namedTry) {
	if t.err != nil && ctx.Err() != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tries = append(n.tries, t)
}

// of lists the tries of a move, in order of time.
func (n *named) of(m *move) []namedTry {
	from, to := m.times[stagePrepare], m.ended
	if at, ok := m.times[stageDirect]; ok {
		to = at
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []namedTry
	for _, t := range n.tries {
		if t.at >= from && (to == 0 || t.at < to) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b namedTry) int { return int(a.at - b.at) })
	return list
}

// allDirect reports whether the last connections all went to new addresses.
func (n *named) allDirect(m *move) bool {
	list := n.of(m)
	if len(list) < namedEnough {
		return false
	}
	for _, t := range list[len(list)-namedEnough:] {
		if !t.accepted || !slices.Contains(m.fresh, t.to) {
			return false
		}
	}
	return true
}

// shares counts the tries of a move by when they began.
func (n *named) shares(m *move) []result.Share {
	commit := m.times[stageCommitted]
	spans := map[int64]*result.Share{}
	var order []int64
	for _, t := range n.of(m) {
		i := int64((t.at - commit) / namedSpan)
		if t.at < commit {
			i--
		}
		s := spans[i]
		if s == nil {
			s = &result.Share{At: result.Millis(time.Duration(i) * namedSpan), Length: result.Millis(namedSpan)}
			spans[i] = s
			order = append(order, i)
		}
		s.Attempted++
		switch {
		case !t.accepted:
			s.Failed++
		case slices.Contains(m.fresh, t.to):
			s.Direct++
		default:
			s.Redirected++
		}
	}
	var list []result.Share
	for _, i := range order {
		list = append(list, *spans[i])
	}
	return list
}
