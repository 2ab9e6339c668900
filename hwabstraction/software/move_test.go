package software

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/hwabstraction"
)

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// TestMove runs a hot move of a UDP stream: served by 0, redirected and held at
// 1, released in order.
func TestMove(t *testing.T) {
	for _, attach := range []Attach{AttachTCX, AttachClsBPF} {
		for _, f := range fams {
			t.Run(attach.String()+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, attach)
				onOneCPU(t)
				for _, d := range []netip.Addr{f.d, f.odd} {
					moveOnce(t, l, f, d)
				}
			})
		}
	}
}

func moveOnce(t *testing.T, l *lab, f fam, d netip.Addr) {
	l.serve(0, f, 1)
	l.must(l.dev[0].Activate(stamp(1)))
	to := netip.AddrPortFrom(f.old, 4000)
	from := l.spine.udp(netip.AddrPortFrom(f.peer, 0))
	a, b := l.vm[0].udp(to), l.vm[1].udp(to)
	for k := range 10 {
		send(t, from, to, k)
	}
	if diff := cmp.Diff(upTo(10), collect(t, a, 10)); diff != "" {
		t.Fatalf("before the move (-want +got):\n%s", diff)
	}

	l.prepare(1, f, d, 2)
	l.apply(0, hwabstraction.Put(hwabstraction.Redirect{Stamp: stamp(2), Address: f.old, To: d, Locator: f.locator[1]}))
	send(t, from, to, 0)
	if got := collect(t, a, 1); len(got) != 1 {
		t.Fatal("a disarmed redirect took a packet")
	}
	l.must(l.dev[0].Arm(stamp(2)))
	const n = 900
	for k := range n {
		send(t, from, to, k)
	}
	g := waitHeld(t, l.dev[1], n)
	if g.HoldDrops != 0 || g.Active {
		t.Fatalf("while holding: %+v", g)
	}
	l.must(l.dev[1].Activate(stamp(2)))
	for k := n; k < 2*n; k++ {
		send(t, from, to, k)
	}
	got := collect(t, b, 2*n)
	if len(got) != 2*n || !slices.IsSorted(got) {
		t.Errorf("released: %d of %d, sorted %t", len(got), 2*n, slices.IsSorted(got))
	}
	id := hwabstraction.RedirectID(f.old)
	c, err := l.dev[0].Counters(t.Context(), []hwabstraction.RuleID{id})
	if err != nil || c[id].Packets != 2*n || time.Since(c[id].LastUse) > time.Minute {
		t.Errorf("redirect counted %+v, %v", c[id], err)
	}
	a.Close()
	b.Close()
	l.clear(0, f, d)
	l.clear(1, f, d)
}

// clear removes every rule of the VM.
func (l *lab) clear(i int, f fam, d netip.Addr) {
	l.t.Helper()
	for _, id := range []hwabstraction.RuleID{
		hwabstraction.RedirectID(f.old), hwabstraction.DeliverID(f.old), hwabstraction.DeliverID(d), hwabstraction.EgressID("vm0", f.old),
	} {
		l.apply(i, hwabstraction.Remove(id, stamp(9)))
	}
	rules, err := l.dev[i].Rules(l.t.Context())
	if err != nil || len(rules) != 0 {
		l.t.Errorf("after deleting all: %v, %v", rules, err)
	}
}

// waitHeld waits until n packets are held: they cross three namespaces.
func waitHeld(t *testing.T, d *Device, n uint64) hwabstraction.GroupStatus {
	t.Helper()
	var g hwabstraction.GroupStatus
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if g, err = d.Group(stamp(2)); err != nil || g.Held+g.HoldDrops >= n {
			break
		}
	}
	if err != nil || g.Held+g.HoldDrops < n || g.HeldNow == 0 {
		t.Fatalf("want %d held: %+v, %v", n, g, err)
	}
	return g
}
