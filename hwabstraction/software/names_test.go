package software

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/hwabstraction"
)

// TestPortsByFunction names ports by what stands behind them: rules keep these
// names, and packets take the interfaces that the resolver gives.
func TestPortsByFunction(t *testing.T) {
	t.Parallel()
	l := newLab(t, AttachAuto)
	l.must(l.dev[0].Close())
	c := l.config(0)
	c.Fabric = []string{"p0"}
	behind := map[string]string{"p0": "fab0", "pf0vf3": "vm0"}
	c.Resolve = func(name string) (int32, error) {
		at, ok := behind[name]
		if !ok {
			return 0, fmt.Errorf("%w: %s", hwabstraction.ErrPortGone, name)
		}
		return int32(l.hv[0].link(at).Attrs().Index), nil
	}
	d, err := Open(c)
	l.must(err)
	t.Cleanup(func() { d.Close() })
	l.dev[0] = d
	f := fams[0]
	rules := []hwabstraction.Change{
		hwabstraction.Put(hwabstraction.Egress{Stamp: stamp(1), Port: "pf0vf3", Source: f.old, MAC: vmMAC}),
		hwabstraction.Put(hwabstraction.Deliver{Stamp: stamp(1), Address: f.old, Restore: f.old, Port: "pf0vf3", MAC: vmMAC}),
	}
	l.apply(0, rules...)
	l.must(d.Activate(stamp(1)))
	to := netip.AddrPortFrom(f.old, 4000)
	from, vm := l.spine.udp(netip.AddrPortFrom(f.peer, 0)), l.vm[0].udp(to)
	for k := range 5 {
		send(t, from, to, k)
	}
	if diff := cmp.Diff(upTo(5), collect(t, vm, 5)); diff != "" {
		t.Errorf("to the port behind pf0vf3 (-want +got):\n%s", diff)
	}
	got, err := d.Rules(t.Context())
	l.must(err)
	for _, st := range got {
		if diff := cmp.Diff(hwabstraction.PlacementEBPF, st.Placement); diff != "" {
			t.Errorf("%s (-want +got):\n%s", st.Rule.ID(), diff)
		}
	}
	if len(got) != len(rules) || got[0].Rule != rules[0].Rule && got[1].Rule != rules[0].Rule {
		t.Errorf("read back: %+v", got)
	}
	res := d.Apply(t.Context(), []hwabstraction.Change{hwabstraction.Put(hwabstraction.Egress{Stamp: stamp(1), Port: "vm0", Source: f.old, MAC: vmMAC})})
	if res[0].Err == nil {
		t.Error("a port was found that the resolver does not know")
	}
}
