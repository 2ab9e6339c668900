package haltest

import (
	"net/netip"
	"os"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
)

// TestNamespaceRig checks the rig by what the kernel alone does in it.
func TestNamespaceRig(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	var env Env
	r := NewNamespaceRig(t, func(e Env) (hwabstraction.Device, error) {
		env = e
		return NewChaos(Plan{}), nil
	})
	for _, f := range []family{family6, family4} {
		s := newStand(t, f, r)
		dst := func(int) spec { return spec{dst: s.old(1)} }
		s.toward(dst, 0, 300)
		for _, h := range s.expect(s.fabric, dst, 0, 300) {
			if h.hopLimit() != 63 {
				t.Errorf("hop limit %d after one hop", h.hopLimit())
			}
		}
		s.silence(s.vm...)
		for _, p := range s.vm {
			s.world.Send(s, p.Name, ethernet(p.MAC, p.Far, build(s, spec{src: s.old(1), dst: s.peer, body: body(0, 0)})))
		}
		if got := s.toPeer(2); len(got) != 2 || got[0] != s.old(1) {
			t.Errorf("from the VM ports left %v", got)
		}
	}
	if st, err := os.Stat(env.BPFFS); err != nil || !st.IsDir() {
		t.Errorf("bpffs: %v", err)
	}
	if len(env.VMPorts) != len(r.World.VMs()) || env.Fabric != r.World.Fabric().Name {
		t.Errorf("environment %+v does not match the world", env)
	}
}

func TestNeutralAddresses(t *testing.T) {
	t.Parallel()
	seen := map[netip.Addr]bool{}
	for i := range 16 {
		for _, a := range []netip.Addr{family6.here(i), family6.there(i)} {
			if fold(sum(0, a.AsSlice())) != fold(sum(0, family6.old(i).AsSlice())) || seen[a] {
				t.Errorf("%s is not neutral to %s, or not unique", a, family6.old(i))
			}
			seen[a] = true
		}
	}
}
