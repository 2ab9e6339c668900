package faults

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/testbed/topology"
)

func atAgent(w *world) {
	w.plan().prepare().finish() // so that there is an epoch below that of the binding
	w.home()
	p := &w.dc.Lab.Plan
	a, _ := p.Hypervisor(topology.HVA)
	b, _ := p.Hypervisor(topology.HVB)
	v := w.asMgmt(topology.HVA)
	plain := w.asMgmt(topology.HVA)
	plain.key = nil
	old := w.asMgmt(topology.HVA)
	old.shift = -time.Minute
	vm, epoch := w.vm(mover), w.binding(w.vm(mover).ID).Epoch
	pool := netip.MustParseAddr("2001:db8:b:d::1234:5678")
	redirect := func(ph mobility.Phase, e uint32, list ...netip.Addr) func(*wire.Message) {
		return func(m *wire.Message) {
			for _, x := range list {
				m.AddAddress(x)
			}
			m.AddHandoffIndicator(mobility.HandoffMove)
			if e != 0 {
				m.AddEpoch(mobility.Epoch(e))
			}
			m.AddMove(mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectTranslated, New: mobility.PolicyRedirect, Phase: ph})
			m.AddAlternateCareOf(b.Locator.V6)
		}
	}
	ask := func(v *voice, vm string, fill func(*wire.Message)) func() (mobility.Status, bool) {
		return func() (mobility.Status, bool) { return v.ask(a.Locator.V6, v.request(vm, fill)) }
	}
	good := []netip.Addr{vm.Addr.V6, pool}
	judge(w, []bad{
		{"without authenticator", ask(plain, vm.ID, redirect(mobility.PhaseCommit, epoch+1, good...)), mobility.StatusAuthFailed, topology.HVA, agentTransport("drop_auth_missing")},
		{"of a minute ago", ask(old, vm.ID, redirect(mobility.PhaseCommit, epoch+1, good...)), mobility.StatusTimestampMismatch, topology.HVA, agentEvent("request_outside_window")},
		{"half a pair", ask(v, vm.ID, redirect(mobility.PhasePrepare, epoch+1, vm.Addr.V6)), mobility.StatusPairMismatch, topology.HVA, agentEvent("request_odd_pairs")},
		{"pairs about another address", ask(v, vm.ID, redirect(mobility.PhasePrepare, epoch+1, netip.MustParseAddr("2001:db8:a:1::99"), pool)), mobility.StatusPairMismatch, topology.HVA, agentEvent("request_asked")},
		{"pairs about some of the addresses only", ask(v, vm.ID, redirect(mobility.PhasePrepare, epoch+1, good...)), mobility.StatusPairMismatch, topology.HVA, agentEvent("request_asked")},
		{"a committed redirect of some of the addresses only", ask(v, vm.ID, redirect(mobility.PhaseCommit, epoch+1, good...)), mobility.StatusPairMismatch, topology.HVA, agentEvent("request_asked")},
		{"two pairs about one address", ask(v, vm.ID, redirect(mobility.PhaseCommit, epoch+1, append(good, good...)...)), mobility.StatusPairMismatch, topology.HVA, agentEvent("request_asked")},
		{"a stale epoch", ask(v, vm.ID, redirect(mobility.PhaseCommit, epoch-1, good...)), mobility.StatusProhibited, topology.HVA, agentEvent("request_asked")},
		{"a VM that is not there", ask(v, w.vm("vm4").ID, redirect(mobility.PhaseCommit, 9, w.vm("vm4").Addr.V6, pool)), mobility.StatusNotVMForThisNode, topology.HVA, agentEvent("request_asked")},
	})
}

func atRouter(w *world) {
	w.home()
	w.routed().prepare().finish()
	p := &w.dc.Lab.Plan
	node := topology.Spine
	to := p.Routers[2].Locator.V6
	c, _ := p.Hypervisor(topology.HVC)
	v, plain, old := w.asMgmt(node), w.asMgmt(node), w.asMgmt(node)
	plain.key, old.shift = nil, -time.Minute
	vm, epoch := w.vm(mover), w.binding(w.vm(mover).ID).Epoch
	route := func(e uint32, careOf netip.Addr, list ...netip.Addr) func(*wire.Message) {
		return func(m *wire.Message) {
			for _, x := range list {
				m.AddAddress(x)
			}
			m.AddHandoffIndicator(mobility.HandoffMove)
			m.AddEpoch(mobility.Epoch(e))
			m.AddMove(mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectRouted, New: mobility.PolicyRedirect, Phase: mobility.PhaseCommit})
			if careOf.IsValid() {
				m.AddAlternateCareOf(careOf)
			}
		}
	}
	ask := func(v *voice, vm string, fill func(*wire.Message)) func() (mobility.Status, bool) {
		return func() (mobility.Status, bool) { return v.ask(to, v.request(vm, fill)) }
	}
	judge(w, []bad{
		{"without authenticator", ask(plain, vm.ID, route(epoch+1, c.Locator.V6, vm.Addr.V6, vm.Addr.V6)), mobility.StatusAuthFailed, node, routerTransport("drop_auth_missing")},
		{"of a minute ago", ask(old, vm.ID, route(epoch+1, c.Locator.V6, vm.Addr.V6, vm.Addr.V6)), mobility.StatusTimestampMismatch, node, routerMessage("request_outside_window")},
		{"half a pair", ask(v, vm.ID, route(epoch+1, c.Locator.V6, vm.Addr.V6)), mobility.StatusPairMismatch, node, routerMessage("request_odd_pairs")},
		{"a pair of two addresses", ask(v, vm.ID, route(epoch+1, c.Locator.V6, vm.Addr.V6, c.Locator.V6)), mobility.StatusPairMismatch, node, routerMessage("request_asked")},
		{"a stale epoch", ask(v, vm.ID, route(epoch-1, c.Locator.V6, vm.Addr.V6, vm.Addr.V6)), mobility.StatusProhibited, node, routerMessage("request_asked")},
		{"without a locator", ask(v, vm.ID, route(epoch+1, netip.Addr{}, vm.Addr.V6, vm.Addr.V6)), mobility.StatusForwardingFailed, node, routerMessage("request_asked")},
	})
}
