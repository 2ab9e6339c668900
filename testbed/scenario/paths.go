package scenario

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/capture"
)

// underWay is how long a frame may be on its way after something has changed.
const underWay = 5 * time.Millisecond

// sightings are the frames to the VM on the links of the two hypervisors of a
// move, from the arming on.
type sightings struct {
	leaving  capture.Findings // from the source, upwards
	arriving capture.Findings // to the destination, downwards
	stray    capture.Findings // to the source, downwards, when nothing should lead there
}

// see sorts one frame of a hypervisor's link in. What the rules are:
//
//   - upwards from the source goes nothing but what it has rewritten to a
//     delivery address at the destination;
//   - downwards to the destination comes what is rewritten, what is sent to the
//     VM's new addresses, and the old address itself where the aggregates lead
//     there (its home) or host routes do (routed);
//   - routed, after all have confirmed, nothing comes rewritten any more but
//     from peers beside a hypervisor that redirects, and nothing comes to the
//     source; the same when the destination is the home.
func (s *sightings) see(r *run, m *move, hv string, up bool, f capture.Frame) {
	old, rewritten := slices.Contains(m.live, f.Dst), m.delivers(f.Dst)
	if !old && !rewritten {
		return
	}
	settled := m.times[stageConfirmed] != 0 && f.At >= m.times[stageConfirmed]+underWay
	// Where new connections are not redirected no router may lead past the
	// source, which alone knows the old ones.
	routed := r.o.Redirect == mobility.RedirectRouted && r.o.New == mobility.PolicyRedirect
	switch {
	case hv == m.from && up:
		check(&s.leaving, f, rewritten)
	case hv == m.from && settled && old && (routed || atHome(&r.dc.Lab.Plan, f.Dst, m.to)):
		check(&s.stray, f, false)
	case hv == m.to && !up && rewritten:
		check(&s.arriving, f, !routed || !settled || r.besideAnchor(m, f.Src))
	case hv == m.to && !up:
		check(&s.arriving, f, routed || atHome(&r.dc.Lab.Plan, f.Dst, m.to))
	}
}

func check(n *capture.Findings, f capture.Frame, ok bool) {
	n.Checked++
	if !ok {
		note(n, f)
	}
}

// delivers reports whether an address is a delivery address of the move.
func (m *move) delivers(a netip.Addr) bool {
	for _, ds := range m.delivery {
		if slices.Contains(ds, a) {
			return true
		}
	}
	return false
}

// besideAnchor reports whether the sender is beside a hypervisor that served
// the VM before and redirects by itself.
func (r *run) besideAnchor(m *move, src netip.Addr) bool {
	for _, v := range r.dc.Lab.Plan.VMs {
		if v.Addr.V6 == src || v.Addr.V4 == src {
			return slices.ContainsFunc(r.moves[:m.n], func(x *move) bool { return x.from == v.Home })
		}
	}
	return false
}
