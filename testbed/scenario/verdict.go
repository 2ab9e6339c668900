package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/traffic"
)

const (
	timeouts  = "TCP time-outs"
	overtaken = "datagrams reordered"
)

// Problems judges a run by what the endpoints counted: every packet arrived
// once, every connection lives, nothing waited for a TCP time-out.
func Problems(r *result.Run) []string {
	var out []string
	for i, m := range r.Moves {
		at := fmt.Sprintf("move %d (%s -> %s)", i+1, m.From, m.To)
		if m.UDP.Sent == 0 {
			out = append(out, at+": no datagram was sent")
		}
		for _, c := range []struct {
			n    uint64
			what string
		}{
			{m.UDP.Lost, "datagrams lost"}, {m.UDP.Duplicated, "datagrams duplicated"}, {m.UDP.Reordered, overtaken},
			{uint64(m.TCP.Connections - m.TCP.Survived), "connections lost"}, {m.TCP.Timeouts, timeouts},
		} {
			if c.n != 0 {
				out = append(out, fmt.Sprintf("%s: %d %s", at, c.n, c.what))
			}
		}
	}
	return out
}

// missing tells which datagrams of a move did not arrive, and when they were
// sent.
func (r *run) missing(m *move) (out []string) {
	if r.o.scenario == nameWarm && m.overflow > 0 {
		return nil
	}
	since, u := m.due(r.o.away), 0
	for _, name := range r.order {
		for _, st := range r.sessions[name].udp() {
			if u == len(since.udp) {
				return out
			}
			for _, x := range st.Missing(since.udp[u], m.end.udp[u], 3) {
				from, to := st.Config().A.Addr, st.Config().B.Addr
				if x.Direction == traffic.BToA {
					from, to = to, from
				}
				out = append(out, fmt.Sprintf("%s: datagram %d from %s to %s, sent after %.3f ms, did not arrive",
					m, x.Number, from, to, float64((x.After-r.began).Microseconds())/1000))
			}
			u++
		}
	}
	return out
}

// shortens reports whether a move makes the way of packets shorter while they
// flow: home, where they went round by the hypervisor that the VM has left, and
// where host routes take over from a redirect. What is still on the longer way is
// overtaken where a processor stalls.
func (r *run) shortens(m *move) bool {
	return r.o.Redirect == mobility.RedirectRouted || slices.ContainsFunc(m.before, func(a netip.Addr) bool { return atHome(&r.dc.Lab.Plan, a, m.to) })
}

// stands reports whether a problem has another reason than time.
func (r *run) stands(problem string) bool {
	for _, m := range r.moves {
		if strings.HasPrefix(problem, m.String()+": ") && strings.HasSuffix(problem, overtaken) && r.shortens(m) {
			return false
		}
	}
	return inTime(problem)
}

// problemsOf judges a move by what the lab itself saw of it.
func (r *run) problemsOf(m *move) []string {
	var out []string
	add := func(format string, args ...any) {
		out = append(out, fmt.Sprintf("%s: "+format, append([]any{m}, args...)...))
	}
	if n := m.lost.UDP + m.lost.TCP; n != 0 && !r.o.away {
		add("%d packets lost at a port where the VM was not", n)
	}
	if what := r.bridged(m); what != "" {
		add("%s", what)
	}
	missing := r.missing(m)
	if out = append(out, missing...); len(missing) > 0 {
		add("%d fragments and other frames lost at a port where the VM was not", m.lost.Other)
	}
	_, broken := m.newcomers.judge(r.o.New)
	for _, b := range broken {
		add("%s", b)
	}
	if r.links != nil && !r.o.away { // what is where holds for hot moves
		for _, f := range r.links.problems(m) {
			add("%s", f)
		}
	}
	return out
}
