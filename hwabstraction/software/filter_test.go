package software

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestPlaces opens a device again with its filters elsewhere: they are where
// the configuration says, and nowhere else.
func TestPlaces(t *testing.T) {
	t.Parallel()
	_, l := host(t, func(c *Config) { c.Attach = AttachClsBPF })
	fabric, err := l.dev[0].portIndex("fab0")
	l.must(err)
	for _, tt := range []struct {
		name   string
		attach Attach
		place  Place
		want   []place
	}{
		{"behind a fast path", AttachClsBPF, behind, []place{{7, 1}, {0, 0xc000}}},
		{"another chain", AttachClsBPF, Place{Priority: 0xc000, Chain: 9}, []place{{9, 1}, {0, 0xc000}}},
		{"as usual", AttachClsBPF, Place{}, []place{{0, 1}}},
		{"behind again", AttachClsBPF, behind, []place{{7, 1}, {0, 0xc000}}},
		{"TCX", AttachTCX, Place{}, nil},
	} {
		l.must(l.dev[0].Close())
		c := l.config(0)
		c.Attach, c.Place = tt.attach, tt.place
		d, err := Open(c)
		l.must(err)
		t.Cleanup(func() { d.Close() })
		l.dev[0] = d
		got, err := d.filters(fabric)
		l.must(err)
		byChain := map[place]bool{}
		for _, p := range got {
			byChain[p] = true
		}
		want := map[place]bool{}
		for _, p := range tt.want {
			want[p] = true
		}
		if diff := cmp.Diff(want, byChain, cmp.AllowUnexported(place{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if !d.attached(fabric, 0) {
			t.Errorf("%s: not attached", tt.name)
		}
	}
}

// TestFurtherChain sends what arrives past chain 0: the program in the further
// chain decides, as a fast path in front of it relies on. Without it nothing
// is delivered, and the rule says that it is not in place.
func TestFurtherChain(t *testing.T) {
	t.Parallel()
	l := newLab(t, AttachClsBPF)
	l.must(l.dev[0].Close())
	c := l.config(0)
	c.Place = behind
	d, err := Open(c)
	l.must(err)
	t.Cleanup(func() { d.Close() })
	l.dev[0] = d
	f := fams[0]
	l.serve(0, f, 1)
	l.must(d.Activate(stamp(1)))
	to := netip.AddrPortFrom(f.old, 4000)
	from, vm := l.spine.udp(netip.AddrPortFrom(f.peer, 0)), l.vm[0].udp(to)
	fabric, err := d.portIndex("fab0")
	l.must(err)
	if err := l.hv[0].nl.FilterAdd(divert(fabric)); errors.Is(err, unix.ENOENT) {
		t.Skip("this kernel has no act_gact, so nothing goes to another chain; the emulated card's has")
	} else if err != nil {
		t.Fatal(err)
	}
	l.must(l.hv[0].nl.FilterDel(place{0, behind.Priority}.filter(fabric)))
	for k := range 5 {
		send(t, from, to, k)
	}
	if diff := cmp.Diff(upTo(5), collect(t, vm, 5)); diff != "" {
		t.Errorf("by the further chain (-want +got):\n%s", diff)
	}
	if d.attached(fabric, 0) {
		t.Error("a filter is gone from chain 0, and the port counts as attached")
	}
}

// divert sends every IPv6 packet to the further chain, as a miss of a fast path
// does.
func divert(ifindex uint32) netlink.Filter {
	return &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: int(ifindex), Parent: netlink.HANDLE_MIN_INGRESS, Priority: 5, Protocol: unix.ETH_P_IPV6},
		Actions:     []netlink.Action{&netlink.GenericAction{ActionAttrs: netlink.ActionAttrs{Action: netlink.TcAct(0x20000000 | behind.Chain)}}},
	}
}
