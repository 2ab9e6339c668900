package offload

import (
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
)

// Plan gives the rules that the binding asks of a device, in a stable order:
// what delivers before what redirects. It does not look at capabilities; see
// Check.
func Plan(b Binding) []hwabstraction.Rule {
	rules := make([]hwabstraction.Rule, 0, b.size())
	for _, r := range b.Restores {
		rules = append(rules, hwabstraction.Deliver{
			Stamp: Stamp(b.VM, r.Epoch), Address: r.D, Restore: r.Old, Port: r.Port, MAC: r.MAC, Hold: r.Hold,
		})
	}
	if g := b.Deliver; g != nil {
		rules = g.plan(b.VM, rules)
	}
	if g := b.Redirect; g != nil {
		rules = g.plan(b.VM, rules)
	}
	return rules
}

// Own gives the rules of the hypervisor itself: what ends in its VM ranges and
// delivery pools, and is claimed by nothing more specific, is unreachable.
func Own(prefixes []netip.Prefix) []hwabstraction.Rule {
	rules := make([]hwabstraction.Rule, len(prefixes))
	for i, p := range prefixes {
		rules[i] = hwabstraction.Unreachable{Stamp: NodeStamp(), Prefix: p.Masked()}
	}
	return rules
}

func (b *Binding) size() int {
	n := len(b.Restores)
	if b.Deliver != nil {
		n += 2*len(b.Deliver.Addresses) + len(b.Deliver.Sources) + len(b.Deliver.Deliveries)
	}
	if b.Redirect != nil {
		n += len(b.Redirect.Pairs)
	}
	return n
}

func (g *DeliverGroup) plan(vm mobility.VMID, rules []hwabstraction.Rule) []hwabstraction.Rule {
	stamp := Stamp(vm, g.Epoch)
	for _, d := range g.Deliveries {
		rules = append(rules, hwabstraction.Deliver{
			Stamp: stamp, Address: d.D, Restore: d.Old, Port: g.Port, MAC: g.MAC, Hold: g.Hold,
		})
	}
	for _, a := range g.Addresses {
		rules = append(rules,
			hwabstraction.Deliver{Stamp: stamp, Address: a, Restore: a, Port: g.Port, MAC: g.MAC},
			hwabstraction.Egress{Stamp: stamp, Port: g.Port, Source: a, MAC: g.MAC})
	}
	for _, a := range g.Sources {
		rules = append(rules, hwabstraction.Egress{Stamp: stamp, Port: g.Port, Source: a, MAC: g.MAC})
	}
	return rules
}

func (g *RedirectGroup) plan(vm mobility.VMID, rules []hwabstraction.Rule) []hwabstraction.Rule {
	stamp := Stamp(vm, g.Epoch)
	for _, p := range g.Pairs {
		locator := g.Locator
		if p.Old.Is4() && g.Locator4.IsValid() {
			locator = g.Locator4
		}
		rules = append(rules, hwabstraction.Redirect{
			Stamp: stamp, Address: p.Old, To: p.New, Locator: locator, New: newFlows(g.New), PathMTU: g.PathMTU,
		})
	}
	return rules
}

// Check tells whether a device with these capabilities can carry out the
// binding for a move of this mode; if not, it is a *mobility.StatusError that
// the move is refused with. What a device can do less well, but correctly, is
// no error: Degrade tells that.
func Check(b Binding, c hwabstraction.Capabilities, mode mobility.Mode) error {
	lacks := func(f hwabstraction.Feature, what string) error {
		return mobility.Refuse(mobility.StatusForwardingFailed, "%s: %s needs the feature %s of the %s backend: %s",
			b.VM, what, f, c.Backend, reason(c, f))
	}
	if g := b.Deliver; g != nil && g.Hold && mode == mobility.ModeHot && !c.Has(hwabstraction.FeatureHold) {
		return lacks(hwabstraction.FeatureHold, "a hot move")
	}
	g := b.Redirect
	switch {
	case g == nil:
	case g.rewrites() && !c.Has(hwabstraction.FeatureRedirect):
		return lacks(hwabstraction.FeatureRedirect, "rewriting to a delivery address")
	case g.New == mobility.PolicyReject && !c.Has(hwabstraction.FeatureReject):
		return lacks(hwabstraction.FeatureReject, "rejecting new connections")
	case newFlows(g.New) != hwabstraction.NewRedirect && !c.Has(hwabstraction.FeatureConntrack):
		return lacks(hwabstraction.FeatureConntrack, "telling new connections from old ones")
	}
	return nil
}

// Degrade takes out of the binding what the device lacks and a move of this
// mode can do without, and names it: a warm or cold move does not need the
// hold. Call it before Check.
func Degrade(b *Binding, c hwabstraction.Capabilities, mode mobility.Mode) (given []hwabstraction.Feature) {
	if g := b.Deliver; g != nil && g.Hold && mode != mobility.ModeHot && !c.Has(hwabstraction.FeatureHold) {
		g.Hold = false
		given = append(given, hwabstraction.FeatureHold)
	}
	return given
}

func (g *RedirectGroup) rewrites() bool {
	for _, p := range g.Pairs {
		if p.Rewrites() {
			return true
		}
	}
	return false
}

func reason(c hwabstraction.Capabilities, f hwabstraction.Feature) string {
	for _, x := range c.Features {
		if x.Feature == f {
			return x.Answer.String() + ": " + x.Reason
		}
	}
	return "unknown"
}
