package sim

import (
	"context"
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/offload"
)

// sabotage is what the simulator does wrong on purpose, around the cores and
// never in them, to prove that it would notice.
type sabotage struct {
	ackEarly      bool // the store answers before it has written
	lateArm       bool // a release is answered, and the redirect armed only after the COMMIT
	noHold        bool // what comes for delivery addresses is not held
	noDelivery    bool // delivery addresses are never installed
	earlyWithdraw bool // a router withdraws where it is to replace
	falseConfirm  bool // a router confirms what its kernel does not have
	drainHome     bool // the answer "not now" to an anchor that asks is taken for yes
	staleEpoch    bool // an agent does again what an older Request said
	falseProof    bool // probes are said to have come that have not
	earlyGiveBack bool // a hold is given back before the source has disarmed
}

// sabotages are all of them, by name.
var sabotages = map[string]sabotage{
	"ack-before-durable": {ackEarly: true},
	"arm-after-commit":   {lateArm: true},
	"no-hold":            {noHold: true},
	"no-delivery":        {noDelivery: true, falseProof: true},
	"early-withdraw":     {earlyWithdraw: true},
	"false-confirm":      {falseConfirm: true},
	"drain-kept-at-home": {drainHome: true},
	"stale-epoch":        {staleEpoch: true},
	"early-give-back":    {earlyGiveBack: true},
}

// rules changes what an agent tells its card.
func (s *sabotage) rules(rules []hwabstraction.Rule) []hwabstraction.Rule {
	if !s.noHold && !s.noDelivery {
		return rules
	}
	var out []hwabstraction.Rule
	for _, r := range rules {
		if d, ok := r.(hwabstraction.Deliver); ok && d.Address != d.Restore {
			if s.noDelivery {
				continue
			}
			d.Hold = false
			r = d
		}
		out = append(out, r)
	}
	return out
}

// inbound changes what an agent hears.
func (s *sabotage) inbound(h *hypervisor, in registration.Inbound) []registration.Inbound {
	m := in.Message
	switch {
	case s.drainHome && m.Type == wire.TypeReply && m.Reply.Status == mobility.StatusProhibited && m.Reply.Lifetime == 0:
		b := slices.Clone(in.Bytes)
		b[6] = byte(mobility.StatusAccepted)
		return []registration.Inbound{reparsed(in, b)}
	case s.staleEpoch && m.Type == wire.TypeRequest:
		return h.stale(in)
	case s.earlyGiveBack && m.Type == wire.TypeRequest && m.Request.Lifetime > 0:
		vm, _ := m.VMID()
		epoch, _ := m.Epoch()
		if o, ok := m.Move(); ok && o.Phase == mobility.PhaseAbort {
			_ = h.device.GiveBack(context.Background(), offload.Stamp(vm, epoch))
			h.w.dirty = true
		}
	}
	return []registration.Inbound{in}
}

func reparsed(in registration.Inbound, b []byte) registration.Inbound {
	in.Message, in.Bytes = new(wire.Message), b
	_ = in.Message.Parse(b)
	return in
}

// stale gives the agent, after a Request of a new epoch, the one before it
// again, as if epochs and timestamps did not count.
func (h *hypervisor) stale(in registration.Inbound) []registration.Inbound {
	vm, _ := in.Message.VMID()
	epoch, _ := in.Message.Epoch()
	o, _ := in.Message.Move()
	if o.Phase != mobility.PhaseCommit || in.Message.Request.Lifetime == 0 {
		return []registration.Inbound{in}
	}
	if h.before == nil {
		h.before = map[mobility.VMID]registration.Inbound{}
	}
	old, had := h.before[vm]
	h.before[vm] = in
	if e, _ := epochOf(old); !had || e >= epoch {
		return []registration.Inbound{in}
	}
	h.before[vm] = old
	h.later(1e7, func() { h.stepInbound(reparsed(old, restamped(h, old.Message, epoch))) })
	return []registration.Inbound{in}
}

func epochOf(in registration.Inbound) (mobility.Epoch, bool) {
	if in.Message == nil {
		return 0, false
	}
	return in.Message.Epoch()
}

// restamped is a Request with another epoch and the time of now.
func restamped(h *hypervisor, m *wire.Message, epoch mobility.Epoch) []byte {
	var n wire.Message
	n.Reset(wire.TypeRequest)
	n.Request = m.Request
	for o := range m.Options() {
		v, vendor := wire.ParseVendor(o)
		switch {
		case o.Type == wire.OptPad1 || o.Type == wire.OptPadN:
		case vendor && v.Subtype == wire.VendorEpoch:
			n.AddEpoch(epoch)
		case o.Type == wire.OptTimestamp:
			n.AddTimestamp(wire.TimestampOf(h.w.now))
		default:
			n.AddOption(o)
		}
	}
	b, _ := n.Append(nil)
	return b
}
