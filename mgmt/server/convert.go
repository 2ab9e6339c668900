package server

import (
	"crypto/ed25519"
	"net/netip"
	"slices"
	"time"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
)

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func addrs(list []netip.Addr) []string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

func deliveries(list []mobility.Delivery) []*v1.Delivery {
	var out []*v1.Delivery
	for _, d := range list {
		out = append(out, &v1.Delivery{Old: d.Old.String(), Delivery: d.D.String()})
	}
	return out
}

// bindingOf tells a binding with what is known besides its record. In the loop.
func bindingOf(c *mgmt.Core, b *mgmt.Binding) *v1.Binding {
	out := &v1.Binding{Vm: b.VM.String(), Mac: b.MAC.String(), Hypervisor: b.Hypervisor, Epoch: uint32(b.Epoch),
		RegisteredAtNs: nanos(b.Registered), ExpiresAtNs: nanos(c.Expiry(b)), ExpiredButKept: c.Expired(b), State: stateOf(c, b)}
	if at, ok := c.Inventory().Locator(b.Hypervisor); ok {
		out.Locator = at.String()
	}
	if m := c.Move(b.VM, max(b.Open, b.Last)); b.Open+b.Last != 0 && m != nil {
		out.Move = m.State.String()
	}
	delivery := func(a netip.Addr) string {
		i := slices.IndexFunc(b.Deliveries, func(d mobility.Delivery) bool { return d.Old == a })
		if i < 0 {
			return ""
		}
		return b.Deliveries[i].D.String()
	}
	for _, s := range b.Slots {
		out.Addresses = append(out.Addresses, &v1.Slot{Address: s.String(), Current: true, Home: c.Inventory().Home(s), Delivery: delivery(s), State: "current"})
	}
	for _, o := range b.Old {
		out.Addresses = append(out.Addresses, &v1.Slot{Address: o.Addr.String(), Home: c.Inventory().Home(o.Addr), Delivery: delivery(o.Addr), State: o.State.String()})
	}
	for _, q := range b.Quarantine {
		out.Addresses = append(out.Addresses, &v1.Slot{Address: q.Addr.String(), Home: c.Inventory().Home(q.Addr), State: "quarantine"})
	}
	budgetOf(c, b, out)
	anchorsOf(c, b, out)
	return out
}

// budgetOf tells which addresses have given way, and what each carries.
func budgetOf(c *mgmt.Core, b *mgmt.Binding, out *v1.Binding) {
	for _, s := range out.Addresses {
		a, err := netip.ParseAddr(s.Address)
		if err != nil {
			continue
		}
		if rate, known := c.Rate(b, a); known {
			s.PacketsPerSecond = &rate
		}
		for _, y := range b.Yields {
			if y.Addr == a {
				s.FullRouter, s.GaveWayNs = y.Router, nanos(y.At)
			}
		}
	}
}

func anchorsOf(c *mgmt.Core, b *mgmt.Binding, out *v1.Binding) {
	for _, a := range b.Anchors {
		at, _ := c.Inventory().Locator(a.Hypervisor)
		draining := slices.ContainsFunc(a.Addrs, func(x netip.Addr) bool {
			return !slices.Contains(b.Slots, x) || c.Inventory().Home(x) != a.Hypervisor
		})
		out.Anchors = append(out.Anchors, &v1.Anchor{Hypervisor: a.Hypervisor, Locator: at.String(), Epoch: uint32(a.Epoch), Confirmed: a.Confirmed,
			Addresses: addrs(a.Addrs), Draining: draining || a.Cold, Error: c.Trouble(b.VM, a.Hypervisor)})
	}
	for _, r := range b.Routes {
		i := slices.IndexFunc(out.Routes, func(x *v1.RouteState) bool { return x.Router == r.Router && x.Withdrawing == r.Withdraw })
		if i < 0 { // one line a router, not one an address
			out.Routes = append(out.Routes, &v1.RouteState{Router: r.Router, Confirmed: true, Epoch: uint32(r.Epoch), Withdrawing: r.Withdraw, Error: c.Trouble(b.VM, r.Router)})
			i = len(out.Routes) - 1
		}
		out.Routes[i].Confirmed = out.Routes[i].Confirmed && r.Confirmed
	}
}

func stateOf(c *mgmt.Core, b *mgmt.Binding) string {
	switch {
	case b.Hypervisor == "":
		return "gone"
	case !b.Grace.IsZero():
		return "grace"
	case b.Open != 0:
		return "moving"
	case c.Expired(b):
		return "expired"
	}
	return "registered"
}

// moveOf tells a move's record. The ticket itself is nobody's business.
func moveOf(m *mgmt.Move) *v1.Move {
	out := &v1.Move{Vm: m.VM.String(), From: m.From, To: m.To, Epoch: uint32(m.Epoch), Mode: m.Options.Mode.String(),
		Addresses: m.Options.Addresses.String(), Redirect: m.Options.Redirect.String(), NewConnections: m.Options.New.String(),
		State: m.State.String(), Error: m.Error, SourceLost: m.SourceLost, Deliveries: deliveries(m.Deliveries), Slots: addrs(m.Slots), Ticket: ticketOf(m)}
	for _, p := range m.Phases {
		out.Phases = append(out.Phases, &v1.Phase{Name: p.Name, AtNs: nanos(p.At), Detail: p.Detail})
	}
	out.Proofs = proofsOf(m.Proofs)
	return out
}

func ticketOf(m *mgmt.Move) string {
	switch {
	case m.Ticket.IsZero():
		return "none"
	case m.State == mgmt.MoveAborted:
		return "void"
	case m.State >= mgmt.MoveCommitted && m.State <= mgmt.MoveDone:
		return "used"
	}
	return "issued"
}

func receiptOf(m *mgmt.Move) *v1.Receipt {
	r := m.Receipt
	out := &v1.Receipt{Move: moveOf(m), SignedAtNs: nanos(r.SignedAt), PublicKey: ed25519.PublicKey(r.PublicKey), Signature: r.Signature, Signed: r.Signed, Final: r.Final}
	for _, h := range m.Holders {
		out.Holders = append(out.Holders, &v1.HolderReport{Hypervisor: h.Hypervisor, Role: h.Role, Placement: h.Placement,
			RedirectedPackets: h.RedirectedPackets, RedirectedBytes: h.RedirectedBytes, ArmedNs: nanos(h.Armed), FirstHitNs: nanos(h.FirstHit), DrainedNs: nanos(h.Drained),
			HeldPackets: h.HeldPackets, HoldDrops: h.HoldDrops, MaxHoldNs: int64(h.MaxHold), Flows: h.Flows, ArmTookNs: int64(h.ArmTook)})
	}
	if f := m.Figures; f != nil {
		out.Endpoints = &v1.EndpointFigures{Sent: f.Sent, Received: f.Received, Lost: f.Lost, Duplicated: f.Duplicated, Reordered: f.Reordered,
			BlackoutNs: int64(f.Blackout), Connections: f.Connections, Survived: f.Survived, CountedBy: f.CountedBy, Direct: sharesTo(f.Direct)}
	}
	out.Names = namesOf(m.Names)
	return out
}

func holderOf(h *v1.HolderReport) mgmt.HolderReport {
	return mgmt.HolderReport{Hypervisor: h.GetHypervisor(), Role: h.GetRole(), Placement: h.GetPlacement(),
		RedirectedPackets: h.GetRedirectedPackets(), RedirectedBytes: h.GetRedirectedBytes(), Armed: instant(h.GetArmedNs()), FirstHit: instant(h.GetFirstHitNs()), Drained: instant(h.GetDrainedNs()),
		HeldPackets: h.GetHeldPackets(), HoldDrops: h.GetHoldDrops(), MaxHold: time.Duration(h.GetMaxHoldNs()), Flows: h.GetFlows(), ArmTook: time.Duration(h.GetArmTookNs())}
}

func figuresOf(f *v1.EndpointFigures) mgmt.EndpointFigures {
	return mgmt.EndpointFigures{Sent: f.GetSent(), Received: f.GetReceived(), Lost: f.GetLost(), Duplicated: f.GetDuplicated(), Reordered: f.GetReordered(),
		Blackout: time.Duration(f.GetBlackoutNs()), Connections: f.GetConnections(), Survived: f.GetSurvived(), CountedBy: f.GetCountedBy(), Direct: sharesOf(f.GetDirect())}
}
