package fib

import (
	"fmt"
	"net/netip"
	"slices"
)

// Metrics say which metric a host route gets in the kernel, the lower the
// better against other routes of the same address. The zero value is 20 for all.
type Metrics struct {
	Default uint32 // of routes that no rule is for; 0: 20
	Rules   []Rule
}

// Rule gives the host routes inside Prefix a metric of their own; the longest
// prefix wins.
type Rule struct {
	Prefix netip.Prefix
	Metric uint32
}

// Of is the metric of an address's host route.
func (m *Metrics) Of(a netip.Addr) uint32 {
	out, bits := m.Default, -1
	if out == 0 {
		out = 20
	}
	for _, r := range m.Rules {
		if r.Prefix.Bits() > bits && r.Prefix.Contains(a) {
			out, bits = r.Metric, r.Prefix.Bits()
		}
	}
	return out
}

// all lists every metric that Of may give, without repeats.
func (m *Metrics) all() []uint32 {
	out := []uint32{m.Of(netip.Addr{})}
	for _, r := range m.Rules {
		if !slices.Contains(out, r.Metric) {
			out = append(out, r.Metric)
		}
	}
	return out
}

// Check tells of a rule that cannot be kept. A metric of taken is that of
// routes which another FIB beside this one owns.
func (m *Metrics) Check(taken ...uint32) error {
	seen := map[netip.Prefix]bool{}
	for _, r := range m.Rules {
		switch {
		case r.Metric == 0:
			return fmt.Errorf("%s: metric is missing, want 1 or more", r.Prefix)
		case seen[r.Prefix.Masked()]:
			return fmt.Errorf("%s: is named twice", r.Prefix)
		case slices.Contains(taken, r.Metric):
			return fmt.Errorf("%s: metric %d is that of imported routes (bgp.metric)", r.Prefix, r.Metric)
		}
		seen[r.Prefix.Masked()] = true
	}
	return nil
}
