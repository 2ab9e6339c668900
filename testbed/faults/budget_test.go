package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/cilium/ebpf"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// small is a data centre whose ToR before hvA has room for the addresses of two
// VMs, and that decides within seconds who has it.
var small = scenario.Settings{
	Policy:  `budget = { interval = "200ms", settle = "2s", ratio = 2 }`,
	Traffic: 200 * time.Millisecond,
	Routers: map[string]string{topology.ToRA: "max_routes = 4\n"},
}

// carryRouted makes a routed hot move of any VM.
func (w *world) carryRouted(vm, from, to string) *move {
	w.t.Helper()
	m := &move{w: w, vm: vm, id: w.vm(vm).ID, from: from, to: to, mode: "hot", redirect: "routed", addresses: "keep"}
	m.prepare()
	m.release()
	m.carry()
	m.activate(slower(10 * time.Second))
	m.committed()
	return m
}

// held tells whose routes the router's kernel has.
func (w *world) held(router string) (vms []string) {
	w.t.Helper()
	res, err := w.router(router).ListRoutes(w.ctx, connect.NewRequest(&v1.ListRoutesRequest{}))
	w.must(err)
	for _, r := range res.Msg.Routes {
		if r.Installed {
			vms = append(vms, r.Vm)
		}
	}
	slices.Sort(vms)
	return slices.Compact(vms)
}

// routedVMs waits until the routers hold the routes of these VMs, all of them,
// and of no other, and the management node says so.
func (w *world) routedVMs(vms ...string) {
	w.t.Helper()
	var want []string
	for _, v := range vms {
		want = append(want, w.vm(v).ID)
	}
	w.eventually(fmt.Sprintf("routes of %v", vms), func() string {
		for _, r := range routers {
			if got := w.held(r); !slices.Equal(got, want) {
				return fmt.Sprintf("%s holds routes of %v", r, got)
			}
		}
		for _, v := range []string{"vm1", "vm2", "vm4"} {
			b := w.binding(w.vm(v).ID)
			if missing := unconfirmed(b); missing != "" {
				return v + ": " + missing
			}
			full := slices.ContainsFunc(b.Addresses, func(s *v1.Slot) bool { return s.FullRouter == topology.ToRA })
			if away := b.Hypervisor != w.vm(v).Home; away && full == slices.Contains(vms, v) {
				return fmt.Sprintf("%s has given way: %v", v, full)
			}
		}
		return ""
	})
}

// TestFullRouter: three VMs are moved, routed, and a ToR has room for two. The
// one with the least traffic gives way; when another has less it takes its
// place; and with room again both are routed. Nothing is lost.
func TestFullRouter(t *testing.T) {
	alone(t, small, nil, func(w *world) {
		busy, some, little := w.talkTo("vm1", 400, connections, topology.CN), w.talkTo("vm2", 120, 0, topology.CN), w.talkTo("vm4", 30, 0, topology.CN)
		w.carryRouted("vm1", topology.HVA, topology.HVB).confirmed()
		w.carryRouted("vm2", topology.HVA, topology.HVC).confirmed()
		w.routedVMs("vm1", "vm2")

		m := w.carryRouted("vm4", topology.HVC, topology.HVB)
		m.state("done")
		w.routedVMs("vm1", "vm2")
		w.toldOf("vm4")

		more := w.talkTo("vm4", 500, 0, topology.CN)
		w.routedVMs("vm1", "vm4")
		w.toldOf("vm2")

		w.carryRouted("vm1", topology.HVB, topology.HVA).state("done")
		w.routedVMs("vm2", "vm4")
		for _, f := range []*flows{busy, some, little, more} {
			f.more("at the end")
			f.whole()
		}
	})
}

// toldOf asserts that the operator is told who has given way.
func (w *world) toldOf(vm string) {
	w.t.Helper()
	const series = `dpmip_mgmt_gave_way{router="` + topology.ToRA + `"}`
	if n := w.metrics(topology.Mgmt)[series]; n != float64(len(families)) {
		w.t.Errorf("%s is %v, want %d", series, n, len(families))
	}
	res, err := w.mgmt().ListRouters(w.ctx, connect.NewRequest(&v1.ListRoutersRequest{}))
	w.must(err)
	for _, r := range res.Msg.Routers {
		if want := map[bool]uint32{true: uint32(len(families))}[r.Name == topology.ToRA]; r.GaveWay != want {
			w.t.Errorf("%s: %d addresses have given way, want %d", r.Name, r.GaveWay, want)
		}
	}
	moves, err := w.mgmt().ListMoves(w.ctx, connect.NewRequest(&v1.ListMovesRequest{Vm: w.vm(vm).ID}))
	w.must(err)
	if len(moves.Msg.Moves) == 0 || !slices.ContainsFunc(moves.Msg.Moves[0].Phases, func(p *v1.Phase) bool { return p.Name == "gave_way" }) {
		w.t.Errorf("the record of %s's move does not say that it gave way: %v", vm, moves.Msg.Moves)
	}
}

// forget takes a VM's redirect off the card of a hypervisor, behind its agent's
// back. While host routes lead past it nobody notices.
func (w *world) forget(hv, vm string) {
	w.t.Helper()
	var path string
	_ = filepath.WalkDir(filepath.Join(w.dir(hv), "bpf"), func(p string, e os.DirEntry, err error) error {
		if err == nil && e.Name() == "dsts" && !e.IsDir() {
			path = p
		}
		return err
	})
	dsts, err := ebpf.LoadPinnedMap(path, nil)
	w.must(err)
	defer dsts.Close()
	for _, a := range w.vm(vm).Addr.Both() {
		if err := dsts.Delete(a.As16()); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			w.t.Fatalf("redirect of %s: %v", a, err)
		}
	}
}

// TestHomeIsArmedBeforeTheRoutesGo: the home's card has lost the redirect of an
// address that is about to give way. It is asked first, and puts it back: nothing
// is lost. Sabotaged, the routes are withdrawn in the right order but without
// asking: that must cost packets.
func TestHomeIsArmedBeforeTheRoutesGo(t *testing.T) {
	t.Run("asked", func(t *testing.T) {
		alone(t, small, nil, func(w *world) {
			quiet, busy := w.talkTo("vm2", 100, 0, topology.CN), w.talkTo("vm4", 300, 0, topology.CN)
			w.carryRouted("vm1", topology.HVA, topology.HVB).confirmed()
			w.carryRouted("vm2", topology.HVA, topology.HVC).confirmed()
			louder := w.talkTo("vm1", 300, 0, topology.CN)
			w.forget(topology.HVA, "vm2")
			w.carryRouted("vm4", topology.HVC, topology.HVB).state("done")
			w.routedVMs("vm1", "vm4")
			for _, f := range []*flows{quiet, busy, louder} {
				f.more("at the end")
				f.whole()
			}
		})
	})
	t.Run("sabotaged", func(t *testing.T) {
		alone(t, small, nil, func(w *world) {
			f := w.talkTo("vm2", 100, 0, topology.CN)
			w.carryRouted("vm2", topology.HVA, topology.HVC).state("done")
			f.more("all have confirmed")
			w.forget(topology.HVA, "vm2")
			f.more("nobody needs the redirect")
			for _, r := range []string{topology.ToRA, topology.Spine, topology.ToRB} {
				w.withdraw(r, "vm2")
			}
			w.pass(500 * time.Millisecond)
			f.stop()
			var lost uint64
			for _, s := range f.streams {
				lost += s.Whole().AToB.Lost
			}
			if lost == 0 {
				t.Error("the routes were withdrawn before the home redirected, and nothing was lost")
			}
			t.Logf("%d lost", lost)
		})
	})
}

// withdraw tells a router, in the management node's voice, to drop a VM's routes.
func (w *world) withdraw(router, vm string) {
	w.t.Helper()
	b := w.binding(w.vm(vm).ID)
	v := w.asMgmt(router)
	to, _ := w.dc.Lab.Plan.Router(router)
	q := v.request(b.Vm, func(m *wire.Message) {
		m.Request.Lifetime = 0
		for _, a := range w.vm(vm).Addr.Both() {
			m.AddPair(mobility.Pair{Old: a, New: a})
		}
		m.AddEpoch(mobility.Epoch(b.Epoch))
	})
	if status, answered := v.ask(to.Locator.V6, q); !answered || !status.Accepted() {
		w.t.Fatalf("withdrawal at %s: %v, answered: %v", router, status, answered)
	}
}
