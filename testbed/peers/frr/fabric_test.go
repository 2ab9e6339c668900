package frr_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/router/igp"
	"github.com/dpmip/dpmip/testbed/peers/frr"
	"github.com/dpmip/dpmip/testbed/peers/rig"
)

// base is what an operator has for a protocol besides dpmip's fragment, at both
// ends; %[1]d is the router's number, %[2]d its neighbour's. docs/fabric.md
// shows the same.
var base = map[igp.Protocol]string{
	igp.OSPF3: `interface f0
 ipv6 ospf6 area 0
 ipv6 ospf6 network point-to-point
 ipv6 ospf6 hello-interval 1
 ipv6 ospf6 dead-interval 4
exit
router ospf6
 ospf6 router-id 10.0.0.%[1]d
exit
`,
	igp.OSPF2: `interface f0
 ip ospf area 0
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 4
exit
router ospf
 ospf router-id 10.0.0.%[1]d
exit
`,
	igp.ISIS: `interface f0
 ip router isis DC
 ipv6 router isis DC
 isis circuit-type level-2-only
 isis network point-to-point
 isis hello-interval 1
exit
router isis DC
 lsp-gen-interval 1
 net 49.0001.0000.0000.000%[1]d.00
 is-type level-2-only
 metric-style wide
exit
`,
	igp.BGP: `router bgp 6500%[1]d
 bgp router-id 10.0.0.%[1]d
 no bgp ebgp-requires-policy
 neighbor 2001:db8:f::%[2]d remote-as 6500%[2]d
 neighbor 2001:db8:f::%[2]d timers 3 9
 neighbor 2001:db8:f::%[2]d timers connect 1
 address-family ipv6 unicast
  neighbor 2001:db8:f::%[2]d activate
 exit-address-family
exit
`,
}

var daemons = map[igp.Protocol]frr.Daemon{igp.OSPF3: frr.OSPF3, igp.OSPF2: frr.OSPF2, igp.ISIS: frr.ISIS, igp.BGP: frr.BGP}

// options are those of the fragment that the test uses for a protocol.
func options(p igp.Protocol) *igp.Options {
	return &igp.Options{Protocols: []igp.Protocol{p}, Ranges: []netip.Prefix{rig.Range6, rig.Range4}, ASN: 65001}
}

// elsewhere are the lines that the fabric's other routers need.
var elsewhere = map[igp.Protocol]string{
	igp.OSPF3: igp.OwnNextHops + "router ospf6\n timers throttle spf 0 50 500\n timers lsa min-arrival 0\nexit\n",
	igp.OSPF2: igp.OwnNextHops + "router ospf\n timers throttle spf 0 50 500\n timers lsa min-arrival 0\nexit\n",
	igp.ISIS:  igp.OwnNextHops + "router isis DC\n lsp-gen-interval 1\n spf-delay-ietf init-delay 0 short-delay 50 long-delay 500 holddown 1000 time-to-learn 500\nexit\n",
	igp.BGP:   igp.OwnNextHops,
}

func configOf(p igp.Protocol, number int) string {
	return fmt.Sprintf(base[p]+"\n", number, 3-number)
}

// fabric is a rig with FRR on both routers and dpmip-router at the ToR.
type fabric struct {
	*rig.World
	t        *testing.T
	ctx      context.Context
	tor, far *frr.Router
	seen     *rig.Observer // the far router's kernel
	router   *rig.Daemon
	mgmt     *rig.Manager
	protocol igp.Protocol
}

// deadline of everything that is waited for in one test.
const deadline = 60 * time.Second

// open brings up the fabric with one protocol; it is gone when the test ends.
func open(t *testing.T, p igp.Protocol) *fabric {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	if *long {
		ctx, cancel = context.WithTimeout(t.Context(), 10*deadline)
	}
	t.Cleanup(cancel)
	f := &fabric{t: t, ctx: ctx, protocol: p}
	var err error
	f.World, err = rig.Open("frr")
	f.must(err)
	t.Cleanup(f.close)
	f.tor, f.far = f.start("tor", daemons[p], 1), f.start("far", daemons[p], 2)
	f.seen, err = rig.Observe(f.Far)
	f.must(err)
	t.Cleanup(func() { f.seen.Close() })
	f.router, err = f.StartRouter(*program, "max_routes = 20000", f.roles())
	f.must(err)
	f.mgmt, err = f.Manage()
	f.must(err)
	t.Cleanup(func() { f.mgmt.Close() })
	return f
}

func (f *fabric) roles() string {
	return fmt.Sprintf("[frr]\nprotocols = [%q]\nasn = 65001\nranges = [%q, %q]\nsocket_dir = %q\n", f.protocol, rig.Range6, rig.Range4, f.tor.Socket())
}

func (f *fabric) start(name string, d frr.Daemon, number int) *frr.Router {
	f.t.Helper()
	r, err := frr.New(f.Set.NS(name), filepath.Join(f.Set.Dir(), "frr-"+name), d)
	f.must(err)
	extra := elsewhere[f.protocol]
	if name == "tor" {
		extra = options(f.protocol).Fragment()
	}
	f.must(r.Start(configOf(f.protocol, number) + extra))
	f.t.Cleanup(func() {
		if f.t.Failed() {
			f.t.Logf("%s at %s:\n%s\n%s", d, name, r.Log(d), r.Log(frr.Zebra))
		}
	})
	return r
}

func (f *fabric) close() {
	if f.t.Failed() && f.router != nil {
		f.t.Logf("dpmip-router:\n%s", f.router.Log())
	}
	if err := f.World.Close(); err != nil {
		f.t.Error(err)
	}
	if _, err := os.Stat(f.Set.Dir()); !os.IsNotExist(err) {
		f.t.Errorf("%s is still there (%v)", f.Set.Dir(), err)
	}
}

func (f *fabric) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// vm is the i-th VM's address in a family that the protocol carries.
func (f *fabric) vm(i int) netip.Addr {
	if v6, _ := f.protocol.Families(); !v6 {
		return rig.VM4(i)
	}
	return rig.VM6(i)
}

func (f *fabric) vms(from, n int) []netip.Addr {
	out := make([]netip.Addr, n)
	for i := range out {
		out[i] = f.vm(from + i)
	}
	return out
}

// set asks for host routes, or for their withdrawal, and wants them confirmed.
func (f *fabric) set(epoch mobility.Epoch, life time.Duration, as ...netip.Addr) {
	f.t.Helper()
	for at := 0; at < len(as); at += rig.MaxPairs {
		part := as[at:min(at+rig.MaxPairs, len(as))]
		st, err := f.mgmt.Routes(f.ctx, "vm-"+part[0].String(), epoch, life, part...)
		f.must(err)
		if st != mobility.StatusAccepted {
			f.t.Fatalf("host routes %v: status %v", part, st)
		}
	}
}

// await waits for the far router's kernel.
func (f *fabric) await(there bool, as ...netip.Addr) {
	f.t.Helper()
	_, err := f.seen.AwaitAll(f.ctx, as, there)
	f.must(err)
}

const hour = time.Hour
