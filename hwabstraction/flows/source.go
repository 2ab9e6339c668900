package flows

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Config is what Open needs. The zero value reads every zone of the calling
// process's network namespace.
type Config struct {
	// NetNS is a file descriptor of the network namespace to read; 0 or less
	// means the process's own. It stays the caller's and must stay open.
	NetNS int
	// Zone tells the conntrack zone of a VM's address, where the backend gives
	// each VM one. With it the kernel searches those zones and zone 0 only
	// (Linux 6.8; before, it tells all and the rest is left out here).
	Zone func(netip.Addr) (zone uint16, ok bool)
}

// Source is a hwabstraction.FlowSource. It may be used by several goroutines.
type Source struct {
	cfg Config

	mu   sync.Mutex // guards idle
	idle []*conntrack.Conn
}

// keptSockets is how many sockets are kept between calls: a VM's flows are read
// from its own zone and from zone 0 at the same time.
const keptSockets = 2

var _ hwabstraction.FlowSource = (*Source)(nil)

// Open returns a source, after it has asked the kernel once whether conntrack
// can be read (needs CAP_NET_ADMIN).
func Open(cfg Config) (*Source, error) {
	s := &Source{cfg: cfg}
	c, err := s.dial()
	if err != nil {
		return nil, err
	}
	if _, err := c.Stats(); err != nil { // StatsGlobal waits for an answer that never comes (v0.6.0)
		c.Close()
		return nil, fmt.Errorf("flows: conntrack: %w", err)
	}
	s.give(c)
	return s, nil
}

// Close lets go of the sockets that Flows keeps. Flows works on, with new ones.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, c := range s.idle {
		if err := c.Close(); err != nil {
			errs = append(errs, fmt.Errorf("flows: conntrack: %w", err))
		}
	}
	s.idle = nil
	return errors.Join(errs...)
}

// take gets a socket of the caller's own: one that is kept, if one is free.
func (s *Source) take() (*conntrack.Conn, error) {
	s.mu.Lock()
	var c *conntrack.Conn
	if n := len(s.idle); n > 0 {
		c, s.idle = s.idle[n-1], s.idle[:n-1]
	}
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	return s.dial()
}

// give keeps a socket for the next call: the kernel takes some 10 ms to close
// one, and the answer to a PREPARE waits for the flows.
func (s *Source) give(c *conntrack.Conn) {
	s.mu.Lock()
	if len(s.idle) < keptSockets {
		s.idle, c = append(s.idle, c), nil
	}
	s.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

func (s *Source) dial() (*conntrack.Conn, error) {
	c, err := conntrack.Dial(&netlink.Config{NetNS: max(s.cfg.NetNS, 0)})
	if err != nil {
		return nil, fmt.Errorf("flows: conntrack: %w", err)
	}
	return c, nil
}

// Flows lists the flows in which one of addrs takes part, each once, the VM's
// end as it was seen first. It ends early, with ctx's error, when ctx does.
func (s *Source) Flows(ctx context.Context, addrs []netip.Addr) ([]hwabstraction.Flow, error) {
	if len(addrs) == 0 {
		return nil, ctx.Err()
	}
	// Side by side: the kernel visits every bucket of its table for each.
	filters := s.filters(addrs)
	found, errs := make([][]conntrack.Flow, len(filters)), make([]error, len(filters))
	var dumps sync.WaitGroup
	for i, f := range filters {
		dumps.Go(func() { found[i], errs[i] = s.dump(ctx, f) })
	}
	dumps.Wait()
	if err := cmp.Or(ctx.Err(), errors.Join(errs...)); err != nil {
		return nil, err
	}
	var out []hwabstraction.Flow
	seen := map[hwabstraction.Flow]bool{}
	for _, entries := range found {
		for i := range entries {
			for _, a := range addrs {
				flow, ok := flowOf(&entries[i], a)
				if ok && !seen[flow] {
					seen[flow] = true
					out = append(out, flow)
				}
			}
		}
	}
	return out, nil
}

// dump reads what a filter lets through, until ctx ends.
func (s *Source) dump(ctx context.Context, f conntrack.Filter) ([]conntrack.Flow, error) {
	c, err := s.take()
	if err != nil {
		return nil, err
	}
	type answer struct {
		flows []conntrack.Flow
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		flows, err := c.DumpFilter(f, nil)
		done <- answer{flows, err}
	}()
	select {
	case a := <-done:
		if a.err != nil { // what is still to be read from it belongs to no call
			c.Close()
			return nil, fmt.Errorf("flows: dump: %w", a.err)
		}
		s.give(c)
		return a.flows, nil
	case <-ctx.Done():
		c.Close() // ends the dump
		<-done
		return nil, ctx.Err()
	}
}

// filters are the dumps that find all flows of addrs.
func (s *Source) filters(addrs []netip.Addr) []conntrack.Filter {
	all := conntrack.NewFilter()
	if fam, ok := oneFamily(addrs); ok {
		all = all.Family(fam)
	}
	if s.cfg.Zone == nil {
		return []conntrack.Filter{all}
	}
	zones := map[uint16]bool{0: true} // flows between two VMs of this host
	out := []conntrack.Filter{all.Zone(0)}
	for _, a := range addrs {
		z, ok := s.cfg.Zone(a)
		if !ok {
			return []conntrack.Filter{all}
		}
		if !zones[z] {
			zones[z] = true
			out = append(out, all.Zone(z))
		}
	}
	return out
}

func oneFamily(addrs []netip.Addr) (netfilter.ProtoFamily, bool) {
	for _, a := range addrs {
		if a.Is4() != addrs[0].Is4() {
			return 0, false
		}
	}
	if addrs[0].Is4() {
		return netfilter.ProtoIPv4, true
	}
	return netfilter.ProtoIPv6, true
}

// flowOf is a conntrack entry as a flow of the VM address vm; false where vm
// has no part in it.
func flowOf(e *conntrack.Flow, vm netip.Addr) (hwabstraction.Flow, bool) {
	t := &e.TupleOrig
	src := hwabstraction.Endpoint{Addr: t.IP.SourceAddress.Unmap(), Port: t.Proto.SourcePort}
	dst := hwabstraction.Endpoint{Addr: t.IP.DestinationAddress.Unmap(), Port: t.Proto.DestinationPort}
	if t.Proto.ICMPv4 || t.Proto.ICMPv6 {
		src.Port, dst.Port = t.Proto.ICMPID, t.Proto.ICMPID
	}
	f := hwabstraction.Flow{Protocol: t.Proto.Protocol, SeenReply: e.Status.SeenReply()}
	switch vm {
	case src.Addr:
		f.VM, f.Peer = src, dst
	case dst.Addr:
		f.VM, f.Peer = dst, src
	default:
		return f, false
	}
	return f, true
}
