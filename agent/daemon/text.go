package daemon

import (
	"context"
	"net/netip"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
)

func vm(v *agent.View) *dpmipv1.VM {
	if v == nil {
		return nil
	}
	out := &dpmipv1.VM{
		Vm: v.VM.String(), Role: v.Role, Port: v.Port, Mac: v.MAC.String(), Epoch: uint32(v.Epoch),
		Addresses: texts(v.Addresses), OldAddresses: texts(v.Olds), Locator: text(v.Locator), ExpiresAtNs: unixNano(v.Expires),
		Registered: v.Registered, CommitOwed: v.CommitOwed, Error: v.Problem, Armed: v.Armed, Active: v.Active,
	}
	for _, d := range v.Deliveries {
		out.Deliveries = append(out.Deliveries, &dpmipv1.Delivery{Old: text(d.Old), Delivery: text(d.D)})
	}
	for _, p := range v.Redirects {
		out.Redirects = append(out.Redirects, &dpmipv1.Delivery{Old: text(p.Old), Delivery: text(p.New)})
	}
	return out
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func texts(list []netip.Addr) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = text(a)
	}
	return out
}

// rules reads the device's rules of a kind (empty = all), with their counters.
func rules(ctx context.Context, h *agent.Hands, kind string) ([]*dpmipv1.Rule, error) {
	list, err := h.Device.Rules(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]hwabstraction.RuleID, len(list))
	for i := range list {
		ids[i] = list[i].Rule.ID()
	}
	counters, err := h.Device.Counters(ctx, ids)
	if err != nil {
		return nil, err
	}
	var out []*dpmipv1.Rule
	there := make(map[hwabstraction.RuleID]bool, len(list))
	for _, st := range list {
		id := st.Rule.ID()
		there[id] = true
		if kind != "" && id.Kind.String() != kind {
			continue
		}
		r := rule(st)
		c := counters[id]
		r.Packets, r.Bytes, r.LastUseNs = c.Packets, c.Bytes, unixNano(c.LastUse)
		if s, ok := h.Reconciler.Status(id); ok && s.Err != nil {
			r.Error = s.Err.Error()
		}
		out = append(out, r)
	}
	for _, st := range h.Reconciler.Unsettled() { // what should be there and is not
		if id := st.Rule.ID(); (kind == "" || id.Kind.String() == kind) && !there[id] && st.Err != nil {
			r := rule(hwabstraction.RuleStatus{Rule: st.Rule})
			r.Error = st.Err.Error()
			out = append(out, r)
		}
	}
	return out, nil
}

func rule(st hwabstraction.RuleStatus) *dpmipv1.Rule {
	id, s := st.Rule.ID(), st.Rule.Stamped()
	out := &dpmipv1.Rule{
		Kind: id.Kind.String(), Address: id.Prefix.String(), Port: id.Port, Owner: s.String(), Epoch: s.Epoch, On: st.On, Placement: st.Placement.String(),
	}
	if id.Prefix.IsSingleIP() {
		out.Address = id.Prefix.Addr().String()
	}
	switch r := st.Rule.(type) {
	case hwabstraction.Redirect:
		out.To, out.Policy = text(r.To), r.New.String()
	case hwabstraction.Deliver:
		out.To, out.Port = text(r.Restore), r.Port
	case hwabstraction.HostRoute:
		out.To, out.Port = text(r.Locator), r.Port
	}
	return out
}
