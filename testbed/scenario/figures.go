package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/result"
)

// report puts the figures together, after all traffic has stopped, and judges
// them.
func (r *run) report(ctx context.Context) (*Report, error) {
	rep := &Report{Run: &result.Run{Scenario: r.o.name(), Seed: r.o.Seed}}
	for _, m := range r.moves {
		x, err := r.figures(ctx, rep, m)
		if err != nil {
			return nil, err
		}
		rep.Moves = append(rep.Moves, *x)
	}
	rep.Summarise()
	rep.Loops, rep.Paths = r.circles, r.paths
	for _, w := range r.windows {
		rep.Windows = append(rep.Windows, r.measured(w))
	}
	judged := r.judged(rep.Run)
	rep.Problems = append(r.problems, Problems(judged)...)
	for _, m := range r.moves {
		rep.Problems = append(rep.Problems, r.problemsOf(m)...)
	}
	if r.o.Slow > 1 {
		rep.Problems = slices.DeleteFunc(rep.Problems, func(p string) bool { return !inTime(p) })
	}
	rep.Problems = append(rep.Problems, r.problemsOfWindows(rep.Windows)...)
	rep.Problems = r.unforgiven(rep.Problems)
	drops, err := r.dc.Lab.Drops()
	if err != nil {
		return nil, err
	}
	switch {
	case lossy(judged): // that stands, whatever a capture has missed
	case r.void != "":
		rep.Void = r.void
	case len(rep.Problems) > 0 && !slices.ContainsFunc(rep.Problems, r.stands):
		rep.Void = "only times are not as they must be"
	}
	if drops != r.drops {
		rep.Void = fmt.Sprintf("the machine itself dropped %d frames", drops-r.drops)
	}
	if rep.Void != "" && r.spoil == nil {
		rep.Problems = append(rep.Problems, rep.Void)
	}
	return rep, nil
}

// lossy reports whether the endpoints counted anything that is lost, or there
// twice.
func lossy(run *result.Run) bool {
	return slices.ContainsFunc(run.Moves, func(m result.Move) bool {
		return m.UDP.Lost+m.UDP.Duplicated != 0 || m.TCP.Survived < m.TCP.Connections
	})
}

// inTime reports whether a problem has another reason than time.
func inTime(problem string) bool {
	return !strings.Contains(problem, late) && !strings.HasSuffix(problem, stalled) && !strings.HasSuffix(problem, timeouts)
}

// figures are those of one move.
func (r *run) figures(ctx context.Context, rep *Report, m *move) (*result.Move, error) {
	x := &result.Move{VM: m.id, From: m.from, To: m.to, Mode: r.o.modeName(), Addresses: r.o.Addresses.String(), Epoch: m.epoch, Phases: m.phases,
		Redirect: result.Redirect{Mode: r.o.Redirect.String()}}
	armed := result.Micros(m.armTook)
	x.Redirect.Armed = &armed
	x.Redirect.Packets, x.Redirect.Bytes = &m.counted.packets, &m.counted.bytes
	r.addTraffic(x, m.start, m.end)
	if r.o.named != nil {
		x.Direct = r.o.named.shares(m)
	}
	x.NewConnections, _ = m.newcomers.judge(r.o.New)
	if m.times[stageCommitted] == 0 {
		return x, nil
	}
	rec, err := r.receipt(ctx, x, m)
	if err != nil {
		return nil, err
	}
	rep.Receipts = append(rep.Receipts, rec)
	rec.fill(x)
	if h := rec.holder(m.to); h != nil {
		m.overflow = h.HoldDrops
	}
	return x, nil
}

// addTraffic sums what the sessions that were open at a moment counted from then
// on.
func (r *run) addTraffic(x *result.Move, from, to mark) {
	u, t := 0, 0
	for _, name := range r.order {
		s := r.sessions[name]
		if u == len(from.udp) { // opened later
			break
		}
		nu, nt := u+len(s.udp()), t+len(s.groups)
		s.add(x, mark{from.udp[u:nu], from.tcp[t:nt]}, mark{to.udp[u:nu], to.tcp[t:nt]})
		u, t = nu, nt
	}
}

// receipt adds what the endpoints counted to the management node's receipt, and
// takes it.
func (r *run) receipt(ctx context.Context, x *result.Move, m *move) (*Receipt, error) {
	_, err := r.dc.Mgmt.AddEndpointFigures(ctx, connect.NewRequest(&v1.AddEndpointFiguresRequest{Vm: m.id, Epoch: m.epoch,
		Figures: &v1.EndpointFigures{Sent: x.UDP.Sent, Received: x.UDP.Received, Lost: x.UDP.Lost, Duplicated: x.UDP.Duplicated,
			Reordered: x.UDP.Reordered, BlackoutNs: int64(x.Blackout), Connections: uint32(x.TCP.Connections),
			Survived: uint32(x.TCP.Survived), CountedBy: "dpmip-lab", Direct: sharesOf(x.Direct)}}))
	if err != nil {
		return nil, fmt.Errorf("scenario: endpoint figures of epoch %d: %w", m.epoch, err)
	}
	res, err := r.dc.Mgmt.GetReceipt(ctx, connect.NewRequest(&v1.GetReceiptRequest{Vm: m.id, Epoch: m.epoch}))
	if err != nil {
		return nil, fmt.Errorf("scenario: receipt of epoch %d: %w", m.epoch, err)
	}
	rec := &Receipt{Receipt: res.Msg.Receipt}
	if err := rec.verify(r.dc); err != nil {
		r.problem("%s: %v", m, err)
	}
	return rec, nil
}
