package faults

import (
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// TestSourceLost: hypervisor A is gone with its VM, the operator says so. The
// move commits without A, the routers lead to B; when A is back it finds its
// phase 2 waiting and redirects for the VMs beside it.
func TestSourceLost(t *testing.T) {
	alone(t, scenario.Settings{}, nil, func(w *world) {
		m := w.plan()
		w.kill(m.from)
		m.leave()
		res, err := w.mgmt().SourceLost(w.ctx, connect.NewRequest(&v1.SourceLostRequest{Vm: m.id, To: m.to}))
		if connect.CodeOf(err) != connect.CodePermissionDenied && connect.CodeOf(err) != connect.CodeFailedPrecondition && connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("a lost source that nobody vouches for: %v, %v; want a refusal", res, err)
		}
		res, err = w.mgmt().SourceLost(w.ctx, connect.NewRequest(&v1.SourceLostRequest{Vm: m.id, To: m.to, FencedBy: "the test"}))
		w.must(err)
		m.epoch = res.Msg.Move.Epoch
		m.state("ready")
		m.arrive()
		if !m.activate(10 * time.Second) {
			t.Fatal("the COMMIT waited for the lost source")
		}
		w.routesTo(m.to)
		b := w.binding(m.id)
		if b.Hypervisor != m.to || len(b.Anchors) != 1 || b.Anchors[0].Confirmed {
			t.Errorf("without the source: binding %v; want it at %s with an unconfirmed anchor %s", b, m.to, m.from)
		}
		f := w.talk(topology.CN, "vm3", "vm4")
		w.flushNeighbours()
		f.more("the source is lost")
		w.start(m.from)
		m.confirmed()
		beside := w.talk("vm2")
		if w.hits(m.from, "redirect") == 0 {
			t.Errorf("the returned source redirects nothing: %v", w.rules(m.from))
		}
		beside.whole()
		f.whole()
		m.state("done", "draining", "committed")
	})
}

// TestSourceDiesBeforeItsPrepare: the source dies while the move waits for its
// answer; the operator's word makes the move ready.
func TestSourceDiesBeforeItsPrepare(t *testing.T) {
	alone(t, scenario.Settings{}, nil, func(w *world) {
		m := w.routed()
		w.kill(m.from)
		if got, err := m.ask(0); err != nil || got.State != "preparing" {
			t.Fatalf("prepare: %v, %v", got, err)
		}
		_, err := w.mgmt().SourceLost(w.ctx, connect.NewRequest(&v1.SourceLostRequest{Vm: m.id, To: m.to, FencedBy: "the test"}))
		w.must(err)
		m.state("ready")
		m.leave()
		m.arrive()
		m.activate(10 * time.Second)
		w.routesTo(m.to)
		f := w.talk()
		w.start(m.from)
		m.confirmed()
		f.whole()
	})
}

// TestManagementNodeDead: it is away for longer than every lifetime. Nobody
// removes forwarding; when it is back every binding gets a full lifetime.
func TestManagementNodeDead(t *testing.T) {
	shorten := func(w *world) {
		w.edit(w.dir(topology.Mgmt)+"/inventory.toml", "[lifetimes]\n", "[lifetimes]\nredirect = \"4s\"\nroute = \"4s\"\nprepare = \"4s\"\n")
		w.restart(topology.Mgmt)
	}
	const lifetime = 4 * time.Second
	alone(t, scenario.Settings{Lifetime: lifetime}, shorten, func(w *world) {
		m := w.routed()
		f := w.talk(topology.CN, "vm2", "vm3")
		m.prepare().finish()
		before := map[string][]string{}
		for _, h := range w.dc.Lab.Plan.Hypervisors {
			before[h.Name] = w.rules(h.Name)
		}
		routes := w.routes(topology.Spine)
		w.kill(topology.Mgmt)
		w.pass(shortOr(lifetime*5/2, lifetime*10))
		f.more("longer than every lifetime without a management node")
		for h, rules := range before {
			w.sameRules(h, rules)
		}
		if now := w.routes(topology.Spine); len(now) == 0 || len(now) != len(routes) {
			t.Errorf("host routes at the spine: %v before, %v now", routes, now)
		}
		// A successor that nobody hears: the agents are stunned, so that their
		// refreshes cannot be what saves the bindings.
		for h := range before {
			defer w.stun(h)()
		}
		at := time.Now()
		w.start(topology.Mgmt)
		for _, v := range w.dc.Lab.Plan.VMs {
			b := w.binding(v.ID)
			if b.Hypervisor == "" || b.State == "gone" {
				t.Errorf("%s after the restart: %v", v.ID, b)
			}
			if left := time.Unix(0, b.ExpiresAtNs).Sub(at); left < lifetime {
				t.Errorf("%s expires %v after the restart, want a full lifetime of %v", v.ID, left, lifetime)
			}
		}
		w.pass(shortOr(lifetime*3/2, lifetime*5))
		f.more("a management node that hears nobody")
		for _, v := range w.dc.Lab.Plan.VMs {
			if b := w.binding(v.ID); b.Hypervisor == "" {
				t.Errorf("%s was given up although its hypervisor could not refresh: %v", v.ID, b)
			}
		}
		f.whole()
	})
}
