package topology

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/dpmip/dpmip/testbed/traffic"
)

// TestEveryNodeReachesEveryLocator asks a port where nobody listens: "refused"
// comes from the addressed node alone.
func TestEveryNodeReachesEveryLocator(t *testing.T) {
	start := time.Now()
	l, err := Up(Options{Base: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("up in %v", time.Since(start))
	if err := l.RunResidents(); err != nil {
		t.Fatal(err)
	}
	targets := append(l.Plan.Mgmt.Both(), l.Plan.CN.Both()...)
	for _, h := range l.Plan.Hypervisors {
		targets = append(targets, h.Locator.Both()...)
	}
	for _, r := range l.Plan.Routers {
		targets = append(targets, r.Locator.Both()...)
	}
	for _, v := range l.Plan.VMs {
		targets = append(targets, v.Addr.Both()...)
	}
	for _, from := range []string{CN, Mgmt, HVC, "vm1", "vm3", ToRA} {
		for _, to := range targets {
			if l.Plan.address(from).has(to) {
				continue
			}
			family := 6
			if to.Is4() {
				family = 4
			}
			a := traffic.Try(t.Context(), traffic.AttemptConfig{
				Network: "tcp", From: l.Endpoint(from, family, 0), To: netip.AddrPortFrom(to, 9), Timeout: 10 * time.Second,
			})
			if !errors.Is(a.Err, syscall.ECONNREFUSED) {
				t.Errorf("%s -> %s: %v", from, to, a.Err)
			}
		}
	}
}

func (d Dual) has(a netip.Addr) bool { return a == d.V6 || a == d.V4 }

func TestStandardPlan(t *testing.T) {
	p := Standard()
	for _, v := range p.VMs {
		h, ok := p.Hypervisor(v.Home)
		if !ok || !h.Range.V6.Contains(v.Addr.V6) || !h.Range.V4.Contains(v.Addr.V4) {
			t.Errorf("%s: %v is not in the range of its home %s", v.Name, v.Addr, v.Home)
		}
	}
	for _, h := range p.Hypervisors {
		for i, inside := range [][]netip.Prefix{h.Range.Both(), h.Pool.Both()} {
			for j, agg := range h.Aggregate.Both() {
				if !agg.Contains(inside[j].Addr()) || agg.Bits() >= inside[j].Bits() {
					t.Errorf("%s: prefix %d %s is not in %s", h.Name, i, inside[j], agg)
				}
			}
		}
		if peer, ok := p.PeerAt(h.Name); !ok || peer.Home != h.Name || peer.Name == p.VMs[0].Name {
			t.Errorf("%s: resident peer %v", h.Name, peer)
		}
	}
}
