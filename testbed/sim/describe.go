package sim

import (
	"fmt"
	"strings"

	"github.com/dpmip/dpmip/agent"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// describe tells a message in one line, for traces.
func describe(m *wire.Message) string {
	var b strings.Builder
	switch m.Type {
	case wire.TypeRequest:
		fmt.Fprintf(&b, "request lifetime %d", m.Request.Lifetime)
	case wire.TypeReply:
		fmt.Fprintf(&b, "reply %s lifetime %d", mobility.Status(m.Reply.Status), m.Reply.Lifetime)
	default:
		return m.Type.String()
	}
	if id, ok := m.VMID(); ok {
		fmt.Fprintf(&b, " %s", id)
	}
	if h, ok := m.HandoffIndicator(); ok {
		fmt.Fprintf(&b, " %s", h)
	}
	if o, ok := m.Move(); ok {
		fmt.Fprintf(&b, " %s/%s/%s/%s/%s", o.Mode, o.Addresses, o.Redirect, o.New, o.Phase)
	}
	if e, ok := m.Epoch(); ok {
		fmt.Fprintf(&b, " epoch %d", e)
	}
	if a, ok := m.AlternateCareOf(); ok {
		fmt.Fprintf(&b, " at %s", a)
	}
	for _, a := range m.AppendAddresses(nil) {
		fmt.Fprintf(&b, " %s", a.Addr)
	}
	for _, d := range m.AppendDeliveries(nil) {
		fmt.Fprintf(&b, " %s=%s", d.Old, d.D)
	}
	return b.String()
}

// effectName tells a device effect in one line, for traces.
func effectName(e agent.Effect) string {
	switch e := e.(type) {
	case agent.Apply:
		s := fmt.Sprintf("apply %s up to %d:", e.VM, e.UpTo.Epoch)
		for _, r := range e.Rules {
			s += fmt.Sprintf(" [%s /%d]", r.ID(), r.Stamped().Epoch)
		}
		return s
	case agent.Switch:
		return fmt.Sprintf("%s %s", e.Op, e.Stamp)
	case agent.GiveBack:
		return "give back " + e.Stamp.String()
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", e), "agent.")
}
