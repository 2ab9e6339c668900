package frr_test

import (
	"net/netip"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/router/igp"
	"github.com/dpmip/dpmip/testbed/peers/frr"
	"github.com/dpmip/dpmip/testbed/peers/rig"
)

// each runs a test for some protocols, one after the other.
func each(t *testing.T, protocols []igp.Protocol, body func(f *fabric)) {
	for _, p := range protocols {
		t.Run(p.String(), func(t *testing.T) { body(open(t, p)) })
	}
}

// TestHostRoutesComeAndGo: one, many at once, and many withdrawn at once, as
// the far router's kernel sees it.
func TestHostRoutesComeAndGo(t *testing.T) {
	t.Parallel()
	each(t, igp.Protocols, func(f *fabric) {
		a := f.vm(0)
		f.set(2, hour, a)
		f.await(true, a)
		f.shown(a)
		f.set(3, 0, a)
		f.await(false, a)
		for i := range 5 { // flapping: the last word counts
			f.set(mobility.Epoch(4+2*i), hour, a)
			f.set(mobility.Epoch(5+2*i), 0, a)
		}
		f.set(20, hour, a)
		f.await(true, a)
		f.healthy()
		for i, n := range sizes() {
			announced, withdrawn := f.comeAndGo(mobility.Epoch(2+2*i), f.vms(1, n))
			f.t.Logf("%s: %d host routes announced in %v, withdrawn in %v", f.protocol, n, announced.Round(time.Millisecond), withdrawn.Round(time.Millisecond))
		}
		f.await(true, a)
	})
}

// comeAndGo tells how long it takes from the first Request for many host routes,
// and for their withdrawal, until the far kernel has done the last.
func (f *fabric) comeAndGo(epoch mobility.Epoch, all []netip.Addr) (announced, withdrawn time.Duration) {
	f.t.Helper()
	took := func(epoch mobility.Epoch, life time.Duration) time.Duration {
		start := time.Now()
		f.set(epoch, life, all...)
		last, err := f.seen.AwaitAll(f.ctx, all, life > 0)
		f.must(err)
		return last.Sub(start)
	}
	return took(epoch, hour), took(epoch+1, 0)
}

// shown: every way to ask says that the route is there.
func (f *fabric) shown(a netip.Addr) {
	f.t.Helper()
	hop := rig.HV6
	if a.Is4() {
		hop = rig.HV4
	}
	r, err := f.router.GetRoute(f.ctx, connect.NewRequest(&v1.GetRouteRequest{Address: a.String(), Until: "installed", WaitNs: int64(10 * time.Second), Owner: "dpmip", NextHops: []string{hop.String()}}))
	f.must(err)
	if m := r.Msg; !m.Installed || !m.Met || m.Route.SinceNs == 0 || m.Route.Owner != "dpmip" || m.Epoch != 2 || m.Route.NextHops[0].Device != "h0" {
		f.t.Errorf("GetRoute = %v", m)
	}
	p := netip.PrefixFrom(a, a.BitLen())
	if ok, err := igp.Installed(f.ctx, igp.VTYSH{Socket: f.far.Socket()}, p); err != nil || !ok {
		f.t.Errorf("the far FRR does not say that %s is installed: %v", p, err)
	}
	if got, want := f.seen.Protocol(a), map[igp.Protocol]int{igp.OSPF3: 188, igp.OSPF2: 188, igp.ISIS: 187, igp.BGP: 186}[f.protocol]; got != want {
		f.t.Errorf("the far kernel's route is of protocol %d, want %d", got, want)
	}
}

func (f *fabric) checks() map[string]*v1.Check {
	f.t.Helper()
	r, err := f.router.Doctor(f.ctx, connect.NewRequest(&v1.DoctorRequest{}))
	f.must(err)
	out := map[string]*v1.Check{}
	for _, c := range r.Msg.Checks {
		out[c.Name] = c
	}
	return out
}

// healthy waits until the doctor has nothing to say: a neighbour's earlier
// identity takes a dead interval to be forgotten.
func (f *fabric) healthy() {
	f.t.Helper()
	for {
		var sick *v1.Check
		for _, c := range f.checks() {
			if c.State != "ok" {
				sick = c
			}
		}
		if sick == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-f.ctx.Done():
			f.t.Fatalf("doctor: %v", sick)
		}
	}
}

// TestFRRIsRestarted: the ToR keeps forwarding while FRR is away, and the far
// router has the routes again when it is back.
func TestFRRIsRestarted(t *testing.T) {
	t.Parallel()
	protocols := []igp.Protocol{igp.OSPF3}
	if *long {
		protocols = igp.Protocols
	}
	each(t, protocols, func(f *fabric) {
		as := f.vms(0, 5)
		f.set(2, hour, as...)
		f.await(true, as...)
		own, err := rig.Observe(f.TOR)
		f.must(err)
		defer own.Close()
		for _, d := range []frr.Daemon{daemons[f.protocol], frr.Zebra} {
			f.must(f.tor.Kill(d))
		}
		f.await(false, as...)
		late := f.vm(9)
		f.set(2, hour, late) // while FRR is away
		f.must(f.tor.Run(frr.Zebra))
		f.must(f.tor.Restart(daemons[f.protocol]))
		f.await(true, append(as, late)...)
		for _, a := range as {
			if own.Protocol(a) != 0 {
				f.t.Errorf("%s changed at the ToR while FRR was restarted", a)
			}
		}
		f.must(f.router.Kill()) // and dpmip-router too: its routes stay
		f.must(f.router.Start())
		f.set(3, 0, late)
		f.await(false, late)
		f.await(true, as...)
	})
}

// TestOutOfRoom: the limit is told with a reason.
func TestOutOfRoom(t *testing.T) {
	t.Parallel()
	f := open(t, igp.OSPF3)
	f.must(f.router.Stop())
	_, err := f.Config("max_routes = 3", f.roles())
	f.must(err)
	f.must(f.router.Start())
	f.set(2, hour, f.vms(0, 3)...)
	st, err := f.mgmt.Routes(f.ctx, "one-more", 2, hour, f.vm(3))
	f.must(err)
	if st != mobility.StatusResources {
		t.Errorf("status %v, want 130", st)
	}
	u, err := f.router.GetUse(f.ctx, connect.NewRequest(&v1.GetUseRequest{}))
	f.must(err)
	if m := u.Msg; m.Routes != 3 || m.Limit != 3 || m.Refused != 1 || m.LastRefusal == "" || m.LastRefusalNs == 0 {
		t.Errorf("use = %v", m)
	}
	if c := f.checks()["room for host routes"]; c.State != "failed" || c.Advice == "" {
		t.Errorf("doctor: %v", c)
	}
	f.set(3, 0, f.vms(0, 3)...)
	f.set(3, hour, f.vm(3)) // there is room again
}
