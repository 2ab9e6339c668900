package netdevsim

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/detect"
	"github.com/dpmip/dpmip/internal/transcript"
	"github.com/dpmip/dpmip/testbed/netns"
)

// card is what the agent opens on a device.
type card struct {
	*testing.T
	ns  *netns.NS
	d   *Device
	cfg detect.Config
	h   *detect.Hardware
	log *transcript.Transcript
}

func (c *card) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// netdev is the interface of a port now.
func (c *card) netdev(port string) string {
	c.Helper()
	r, err := detect.NewResolver(c.cfg.NetNS, nil)
	c.must(err)
	defer r.Close()
	at, err := r.Index(port)
	c.must(err)
	l, err := c.ns.Netlink().LinkByIndex(int(at))
	c.must(err)
	return l.Attrs().Name
}

// tiers asks the fast path until it fares as wanted.
func (c *card) tiers(what string, want func(hwabstraction.Tiers) bool) {
	c.Helper()
	fast, ok := c.h.Device.(hwabstraction.Tiered)
	if !ok {
		c.Fatalf("%T has no fast path: %s", c.h.Device, c.h.Reason)
	}
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(time.Minute); ; {
		now, err := fast.Tiers(c.Context())
		if err == nil && want(now) {
			return
		}
		if time.Now().After(end) {
			c.Fatalf("%s: %+v, %v\n%s", what, now, err, c.log)
		}
		<-again.C
	}
}

// placed are the rules and where they are, by ID.
func (c *card) placed() map[string]string {
	c.Helper()
	rules, err := c.h.Device.Rules(c.Context())
	c.must(err)
	out := map[string]string{}
	for _, r := range rules {
		out[r.Rule.ID().String()] = r.Placement.String()
	}
	return out
}

// TestEswitchModeChanges takes a real kernel's e-switch out of switchdev mode under
// what the agent opens there, and puts it back, twice: rules go by the slow path
// meanwhile, none is lost, that is said and counted, and filters and rules are on the
// representors that are made anew.
func TestEswitchModeChanges(t *testing.T) {
	if !Present() {
		t.Skip("this kernel has no netdevsim: make testbed-netdevsim brings one that has")
	}
	set, ns, d := eswitch(t, 61)
	if err := d.Functions(2); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	bpf, err := set.MountBPF("bpf")
	if err != nil {
		t.Fatal(err)
	}
	c := &card{T: t, ns: ns, d: d, log: &transcript.Transcript{}}
	c.cfg = detect.Config{
		NetNS: int(f.Fd()), BPFDir: bpf, Fabric: []string{"p1"}, MaxRules: 1024, MaxFlows: 1024,
		Log: slog.New(slog.NewTextHandler(c.log, nil)),
	}
	c.fabric()
	if c.h, err = detect.Open(t.Context(), c.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.must(c.h.Close()) })
	c.serve()
	before := c.placed()
	c.fast(0)
	for n := uint64(1); n <= 2; n++ {
		c.away(n, before)
		c.must(d.SetMode("switchdev"))
		c.must(ns.SetUp(c.netdev("pf0vf0")))
		c.fast(n)
		if diff := cmp.Diff(before, c.placed()); diff != "" {
			t.Errorf("rules once the mode is back (-before +now):\n%s", diff)
		}
		if got := c.h.Device.(hwabstraction.Mender).Mended()["port"]; got != n {
			t.Errorf("%d ports were found anew, want %d\n%s", got, n, c.log)
		}
	}
}

// fabric gives the uplink an address and a way out.
func (c *card) fabric() {
	c.Helper()
	up, router := c.netdev("p1"), netip.MustParseAddr("2001:db8:f::1")
	c.must(c.ns.SetUp(up))
	c.must(c.ns.SetUp(c.netdev("pf0vf0")))
	c.must(c.ns.AddAddr(up, netip.MustParsePrefix("2001:db8:f::2/64")))
	c.must(c.ns.SetNeighbour(up, router, net.HardwareAddr{2, 0, 0, 0, 0, 9}))
	at, err := c.ns.Index(up)
	c.must(err)
	c.must(c.ns.Netlink().RouteReplace(&netlink.Route{Dst: netns.IPNet(netip.MustParsePrefix("::/0")), Gw: router.AsSlice(), LinkIndex: at}))
}

// serve puts the rules of a VM behind a function.
func (c *card) serve() {
	c.Helper()
	st, old, mac := hwabstraction.Stamp{Owner: [16]byte{1}, Epoch: 1}, netip.MustParseAddr("2001:db8:a::7"), [6]byte{2, 0, 0, 0, 0, 7}
	for _, r := range c.h.Device.Apply(c.Context(), []hwabstraction.Change{
		hwabstraction.Put(hwabstraction.Deliver{Stamp: st, Address: old, Restore: old, Port: "pf0vf0", MAC: mac}),
		hwabstraction.Put(hwabstraction.Egress{Stamp: st, Port: "pf0vf0", Source: old, MAC: mac}),
	}) {
		c.must(r.Err)
	}
	c.must(c.h.Device.Activate(st))
}

// fast waits until the VM and its port have filters. The simulated hardware
// refuses them: they are the kernel's.
func (c *card) fast(lost uint64) {
	c.Helper()
	c.tiers("filters", func(r hwabstraction.Tiers) bool {
		return r.Rungs["kernel, conntrack"] == 2 && r.Filters["kernel"] > 0 && r.Events["eswitch_lost"] == lost
	})
}

// away takes the e-switch out of switchdev mode.
func (c *card) away(n uint64, rules map[string]string) {
	c.Helper()
	c.must(c.d.SetMode("legacy"))
	c.tiers("in legacy mode", func(r hwabstraction.Tiers) bool {
		return len(r.Rungs) == 1 && r.Rungs["slow path"] > 0 && len(r.Filters) == 0 && r.Events["eswitch_lost"] == n
	})
	if got := strings.Count(c.log.String(), "the e-switch has left switchdev mode"); got != int(n) {
		c.Errorf("the log says %d times that the mode is another one, want %d:\n%s", got, n, c.log)
	}
	now := c.placed()
	for id := range rules {
		if _, there := now[id]; !there {
			c.Errorf("%s is lost in legacy mode", id)
		}
	}
	for _, check := range detect.Examine(c.cfg) {
		if check.Name == "backend" && !strings.Contains(check.Found, "legacy mode") {
			c.Errorf("doctor says of the backend %q", check.Found)
		}
	}
}
