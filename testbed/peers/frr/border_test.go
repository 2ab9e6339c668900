package frr_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/peers/frr"
	"github.com/dpmip/dpmip/testbed/peers/rig"
)

// borderRoles is dc1's border router: dpmip-router's [bgp]. docs/fabric.md shows
// it; the lines of a test come at its end, inside the peer's table.
const borderRoles = `[bgp]
asn               = 65001
router_id         = "10.0.0.1"
listen            = ["2001:db8:f::1"]
site              = "dc1"
locators          = ["2001:db8:b::/48"]                 # of this site's hypervisors
ranges            = ["2001:db8:a::/48", "10.9.0.0/16"]  # VMs' addresses, of all sites
communities       = ["65000:5436"]
large_communities = ["65000:5436:1"]
graceful_restart  = true
restart_time      = "20s"

[[bgp.sites]]
name      = "dc2"
locators  = ["2001:db8:c::/48"]
next_hops = ["2001:db8:f::2"]

[[bgp.peers]]
name          = "dc2"
address       = "2001:db8:f::2"
asn           = 65002
announce      = "arrived"
accept        = true
connect_retry = "1s"
hold_time     = "9s"
`

// farBorder is dc2's border router: FRR. Its own VMs' host routes come from its
// kernel; docs/fabric.md shows it.
const farBorder = `bgp community-list standard DPMIP permit 65000:5436
ipv6 prefix-list DPMIP-HOSTS6 seq 5 permit 2001:db8:a::/48 ge 128
route-map DPMIP-IN permit 10
 match community DPMIP
 match ipv6 address prefix-list DPMIP-HOSTS6
exit
route-map DPMIP-OUT permit 10
 match ipv6 address prefix-list DPMIP-HOSTS6
 set community 65000:5436 no-export
exit
router bgp 65002
 bgp router-id 10.0.0.2
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor 2001:db8:f::1 remote-as 65001
 neighbor 2001:db8:f::1 timers 3 9
 neighbor 2001:db8:f::1 timers connect 1
 address-family ipv6 unicast
  neighbor 2001:db8:f::1 activate
  neighbor 2001:db8:f::1 route-map DPMIP-IN in
  neighbor 2001:db8:f::1 route-map DPMIP-OUT out
  redistribute kernel
 exit-address-family
exit
`

// border is a rig whose ToR is dc1's border router and whose far router dc2's.
type border struct {
	*fabric
	own *rig.Observer // dc1's kernel
}

func openBorder(t *testing.T, top, roles, far string) *border {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	f := &fabric{t: t, ctx: ctx}
	var err error
	f.World, err = rig.Open("frr")
	f.must(err)
	t.Cleanup(f.close)
	f.far, err = frr.New(f.Far, filepath.Join(f.Set.Dir(), "frr-far"), frr.BGP)
	f.must(err)
	f.must(f.far.Start(far))
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := f.far.Show("show bgp ipv6 unicast", "show bgp summary", "show bgp neighbors")
			t.Logf("bgpd:\n%s\n%s", f.far.Log(frr.BGP), out)
		}
	})
	b := &border{fabric: f}
	f.seen, err = rig.Observe(f.Far)
	f.must(err)
	t.Cleanup(func() { f.seen.Close() })
	b.own, err = rig.Observe(f.TOR)
	f.must(err)
	t.Cleanup(func() { b.own.Close() })
	f.router, err = f.StartRouter(*program, top, roles)
	f.must(err)
	f.mgmt, err = f.Manage()
	f.must(err)
	t.Cleanup(func() { f.mgmt.Close() })
	return b
}

// session asks for the state of the session with dc2.
func (b *border) session() *v1.Session {
	b.t.Helper()
	r, err := b.router.ListSessions(b.ctx, connect.NewRequest(&v1.ListSessionsRequest{}))
	b.must(err)
	return r.Msg.Sessions[0]
}

// until waits for a state of the session.
func (b *border) until(what string, ok func(*v1.Session) bool) *v1.Session {
	b.t.Helper()
	for {
		s := b.session()
		if ok(s) {
			return s
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-b.ctx.Done():
			b.t.Fatalf("session: not %s: %v", what, s)
		}
	}
}

func (b *border) established() {
	b.t.Helper()
	b.until("established", func(s *v1.Session) bool { return s.State == "established" })
}

// path is one of bgpd's paths.
type path struct {
	Origin    string `json:"origin"`
	Community struct {
		String string `json:"string"`
	} `json:"community"`
	Large struct {
		String string `json:"string"`
	} `json:"largeCommunity"`
	NextHops []struct {
		IP netip.Addr `json:"ip"`
	} `json:"nexthops"`
	ASPath struct {
		String string `json:"string"`
	} `json:"aspath"`
	Stale bool `json:"stale"`
}

func (b *border) farPath(a netip.Addr) *path {
	b.t.Helper()
	var out struct {
		Paths []path `json:"paths"`
	}
	b.must(b.far.JSON("show bgp ipv6 unicast "+a.String()+"/128 json", &out))
	if len(out.Paths) == 0 {
		return nil
	}
	return &out.Paths[0]
}

// give puts a VM's host route into dc2's kernel, as a dpmip-router there would.
func (b *border) give(prefixes ...string) {
	b.t.Helper()
	b.inFar("add", prefixes)
}

func (b *border) takeBack(prefixes ...string) {
	b.t.Helper()
	b.inFar("del", prefixes)
}

// TestBorderAnnouncesWhatArrived: attributes as section 7.2 wants them, and the
// withdrawal when the VM is home.
func TestBorderAnnouncesWhatArrived(t *testing.T) {
	t.Parallel()
	b := openBorder(t, "", borderRoles+"no_export = true\n", farBorder)
	a := rig.VM6(0)
	b.set(2, hour, a)
	b.await(true, a)
	p := b.farPath(a)
	if p == nil || p.Origin != "IGP" || p.ASPath.String != "65001" || p.NextHops[0].IP != rig.TOR6 {
		t.Errorf("path = %+v, want ORIGIN IGP of 65001 by %s", p, rig.TOR6)
	}
	if want := "65000:5436 no-export"; p.Community.String != want || p.Large.String != "65000:5436:1" {
		t.Errorf("communities %q, %q; want %q and the large one alone", p.Community.String, p.Large.String, want)
	}
	outside := netip.MustParseAddr("2001:db8:dead::1")
	b.set(2, hour, outside)
	b.refused("out", outside, "outside the configured ranges")
	_, err := b.far.Show("clear bgp ipv6 unicast 2001:db8:f::1 in") // asks for a route refresh
	b.must(err)
	b.set(3, 0, a)
	b.await(false, a)
	if p := b.farPath(a); p != nil {
		t.Errorf("withdrawn, but %+v is still there", p)
	}
	all := b.vmsFrom(1, many())
	b.set(2, hour, all...)
	b.await(true, all...)
	b.set(3, 0, all...)
	b.await(false, all...)
}

func (b *border) vmsFrom(from, n int) []netip.Addr {
	out := make([]netip.Addr, n)
	for i := range out {
		out[i] = rig.VM6(from + i)
	}
	return out
}

// refused waits until a route is listed as refused for the reason.
func (b *border) refused(direction string, a netip.Addr, reason string) {
	b.t.Helper()
	var last []*v1.Exchanged
	for {
		r, err := b.router.ListExchanged(b.ctx, connect.NewRequest(&v1.ListExchangedRequest{Direction: direction, Prefix: a.String() + "/128"}))
		b.must(err)
		last = r.Msg.Routes
		if slices.ContainsFunc(last, func(x *v1.Exchanged) bool { return x.State == "refused" && strings.Contains(x.Reason, reason) }) {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-b.ctx.Done():
			b.t.Fatalf("%s: %v, want refused: %s", a, last, reason)
		}
	}
}

// TestBorderImportsByPolicy: what dc2 says is believed only with the operator's
// community and inside the ranges.
func TestBorderImportsByPolicy(t *testing.T) {
	t.Parallel()
	far := farBorder + `route-map DPMIP-OUT permit 5
 match ipv6 address prefix-list FOREIGN
 set community 65000:1
exit
route-map DPMIP-OUT permit 20
 set community 65000:5436
exit
ipv6 prefix-list FOREIGN seq 5 permit 2001:db8:a:0:1::/80 ge 128
`
	b := openBorder(t, "", borderRoles, far)
	good, foreign, outside := rig.VM6(0), netip.MustParseAddr("2001:db8:a:0:1::7"), netip.MustParseAddr("2001:db8:dead::1")
	b.give(good.String()+"/128", foreign.String()+"/128", outside.String()+"/128", "2001:db8:a:9::/64")
	_, err := b.own.Await(b.ctx, good, true)
	b.must(err)
	if got := b.own.Protocol(good); got != 201 {
		t.Errorf("imported with protocol %d, want 201", got)
	}
	b.refused("in", foreign, "none of the operator's communities")
	b.refused("in", outside, "outside the configured ranges")
	b.until("counted", func(s *v1.Session) bool { return s.Accepted == 1 && s.Refused >= 3 })
	for _, a := range []netip.Addr{foreign, outside} {
		if b.own.Protocol(a) != 0 {
			t.Errorf("%s was imported", a)
		}
	}
	b.takeBack(good.String() + "/128")
	_, err = b.own.Await(b.ctx, good, false)
	b.must(err)
}

// TestBorderSessionIsReset: routes come back, both ways, and the flap is counted.
func TestBorderSessionIsReset(t *testing.T) {
	t.Parallel()
	b := openBorder(t, "", borderRoles, farBorder)
	here, there := rig.VM6(0), rig.VM6(1)
	b.give(there.String() + "/128")
	b.set(2, hour, here)
	b.await(true, here)
	_, err := b.own.Await(b.ctx, there, true)
	b.must(err)
	rounds := 1
	if *long {
		rounds = 5
	}
	for range rounds {
		flaps := b.session().Flaps
		_, err = b.far.Show("clear bgp ipv6 unicast 2001:db8:f::1")
		b.must(err)
		b.until("reset and back", func(s *v1.Session) bool { return s.Flaps > flaps && s.State == "established" && s.Accepted == 1 })
	}
	b.await(true, here)
	late := rig.VM6(2)
	b.set(2, hour, late)
	b.await(true, late)
	b.set(3, 0, here)
	b.await(false, here)
}

// TestBorderGracefulRestart: neither side's crash takes a route from a kernel.
func TestBorderGracefulRestart(t *testing.T) {
	t.Parallel()
	b := openBorder(t, "", borderRoles, farBorder)
	here, leaves, there := rig.VM6(0), rig.VM6(1), rig.VM6(2)
	b.give(there.String() + "/128")
	b.set(2, hour, here, leaves)
	b.await(true, here, leaves)
	_, err := b.own.Await(b.ctx, there, true)
	b.must(err)
	b.established()
	far, err := rig.Observe(b.Far)
	b.must(err)
	defer far.Close()
	own, err := rig.Observe(b.TOR)
	b.must(err)
	defer own.Close()

	b.must(b.router.Kill())
	b.takeBack(there.String() + "/128") // while we are dead
	b.must(b.router.Start())
	b.established()
	b.set(3, 0, here) // a change of after the restart, behind the End-of-RIB
	if _, err := far.Await(b.ctx, here, false); err != nil {
		t.Errorf("withdrawal after the restart: %v", err)
	}
	if at, err := far.Await(b.ctx, leaves, false); err == nil && !at.IsZero() {
		t.Errorf("the far kernel lost %s at %v while dpmip-router was restarted", leaves, at)
	}
	_, err = b.own.Await(b.ctx, there, false)
	b.must(err)

	b.give(there.String() + "/128")
	_, err = b.own.Await(b.ctx, there, true)
	b.must(err)
	kept, err := rig.Observe(b.TOR)
	b.must(err)
	defer kept.Close()
	b.must(b.far.Kill(frr.BGP))
	b.until("stale", func(s *v1.Session) bool { return s.State != "established" && s.Stale == 1 })
	b.must(b.far.Restart(frr.BGP))
	b.until("fresh", func(s *v1.Session) bool { return s.State == "established" && s.Stale == 0 && s.Accepted == 1 })
	if kept.Protocol(there) != 0 {
		t.Error("the imported route changed while the peer was restarted")
	}
}

// TestBorderPasswords: a wrong key is told as such.
func TestBorderPasswords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "dc2.key")
	if err := os.WriteFile(key, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	roles := borderRoles + fmt.Sprintf("password_file = %q\n", key)
	with := func(password string) string {
		return fmt.Sprintf("router bgp 65002\n neighbor 2001:db8:f::1 password %s\nexit\n", password)
	}
	b := openBorder(t, "", roles, farBorder+with("wrong"))
	b.until("a wrong key", func(s *v1.Session) bool { return strings.Contains(s.Problem, "another one than ours") })
	if c := b.checks()["BGP session dc2"]; c == nil || c.State != "failed" || !strings.Contains(c.Found, "MD5") {
		t.Errorf("doctor: %v", c)
	}
	b.must(b.far.Apply("router bgp 65002\n no neighbor 2001:db8:f::1 password\nexit\n"))
	b.until("unsigned", func(s *v1.Session) bool {
		return strings.Contains(s.Problem, "does not sign") || strings.Contains(s.Problem, "another one than ours")
	})
	b.must(b.far.Apply(strings.ReplaceAll(with("PASSWORD"), "PASSWORD", "correct") + ""))
	b.must(os.WriteFile(key, []byte("correct\n"), 0o600))
	b.must(b.router.Stop())
	b.must(b.router.Start())
	b.established()
	if s := b.session(); !s.Md5 || s.Problem != "" {
		t.Errorf("session %v", s)
	}
}

// TestBorderPrefixLimit: a peer that sends too much loses its session, and the
// operator is told.
func TestBorderPrefixLimit(t *testing.T) {
	t.Parallel()
	b := openBorder(t, "", borderRoles+"max_prefixes = 5\n", farBorder)
	b.established()
	var all []string
	for _, a := range b.vmsFrom(0, 10) {
		all = append(all, a.String()+"/128")
	}
	b.give(all...)
	b.until("ended by the limit", func(s *v1.Session) bool {
		return s.State == "prefix limit" && strings.Contains(s.Problem, "max_prefixes")
	})
}
