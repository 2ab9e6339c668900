package scenario

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mobility"
)

// MatrixOptions say which cells are run.
type MatrixOptions struct {
	Full bool   // every cell, with both ways to attach; else a part that has each of them once
	Only string // cells whose name contains it; "" = all
	Bin  string // directory of the programs
	Seed uint64
	Pcap string // directory for captures, one below it for each cell; "" = none
	Out  io.Writer
}

// cell is one kind of hot move.
type cell struct {
	redirect  mobility.RedirectMode
	addresses mobility.Addressing
	policy    mobility.NewConnections
	peer      string
}

func (c cell) String() string {
	return fmt.Sprintf("%s/%s/%s/%s", c.redirect, c.addresses, c.policy, c.peer)
}

// cells are all that make sense. The others are refused, which is a cell of
// its own.
func cells() (out []cell) {
	for _, peer := range []string{PeerOutside, PeerSource, PeerDestination, PeerThird} {
		for _, redirect := range []mobility.RedirectMode{mobility.RedirectTranslated, mobility.RedirectRouted} {
			out = append(out, cell{redirect, mobility.AddressesKeep, mobility.PolicyRedirect, peer})
			for _, policy := range []mobility.NewConnections{mobility.PolicyRedirect, mobility.PolicyDrop, mobility.PolicyReject} {
				out = append(out, cell{redirect, mobility.AddressesRenumber, policy, peer})
			}
		}
	}
	return out
}

// site is one data centre, kept up for its cells.
type site struct {
	family, attach string
	cells          []cell
}

// sites are the data centres of a matrix: in full, every cell in each of them.
// Else every cell is there once with both families, half of them with each way
// to attach, and some with one family alone.
func sites(full bool) []site {
	all := cells()
	if full {
		var out []site
		for _, family := range []string{"dual", "6", "4"} {
			for _, attach := range []string{"tcx", "cls_bpf"} {
				out = append(out, site{family, attach, all})
			}
		}
		return out
	}
	part := func(first, step int) (some []cell) {
		for i := first; i < len(all); i += step {
			some = append(some, all[i])
		}
		return some
	}
	// 32 cells, 8 a peer: i+i/8 changes parity with the peer, so that each way
	// to attach gets each policy.
	var even, odd []cell
	for i, c := range all {
		if (i+i/8)%2 == 0 {
			even = append(even, c)
		} else {
			odd = append(odd, c)
		}
	}
	return []site{{"dual", "tcx", even}, {"dual", "cls_bpf", odd}, {"6", "tcx", part(0, 9)}, {"4", "cls_bpf", part(4, 9)}}
}

// Matrix runs every cell and says how many passed.
func Matrix(ctx context.Context, o MatrixOptions) (passed, failed int, err error) {
	m := &matrix{o: &o}
	for _, s := range sites(o.Full) {
		if err := m.site(ctx, s); err != nil {
			return m.passed, m.failed, err
		}
	}
	return m.passed, m.failed, nil
}

type matrix struct {
	o                       *MatrixOptions
	passed, failed, repeats int
}

// note says what came of a cell.
func (m *matrix) note(name string, took time.Duration, problems []string) {
	verdict := "ok    "
	if len(problems) == 0 {
		m.passed++
	} else {
		m.failed++
		verdict = "FAILED"
	}
	m.say(verdict, name, took, problems)
}

func (m *matrix) say(verdict, name string, took time.Duration, problems []string) {
	fmt.Fprintf(m.o.Out, "%s  %-58s %5.1f s\n", verdict, name, took.Seconds())
	for _, p := range problems {
		fmt.Fprintf(m.o.Out, "        %s\n", p)
	}
}

// provedInMatrix has the routed moves of a matrix rehearsed, and their host routes
// seen at every router.
var provedInMatrix = fmt.Sprintf(`proofs = { observers = ["torA", "torB", "spine"], probes = %s }`, tomlList(probeRanges))

func (m *matrix) settings(s site) Settings {
	return Settings{Bin: m.o.Bin, Seed: m.o.Seed, Attach: s.attach, Policy: provedInMatrix}
}

// site runs the cells of one data centre. One that could not be carried out
// costs the data centre: the next gets a new one.
func (m *matrix) site(ctx context.Context, s site) (err error) {
	var dc *DataCentre
	defer func() {
		if dc != nil {
			err = dc.Close()
		}
	}()
	for _, x := range m.cellsOf(s) {
		if dc == nil {
			if dc, err = Start(ctx, m.settings(s)); err != nil {
				return err
			}
		}
		start := time.Now()
		rep, err := m.try(ctx, x, dc)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || len(rep.Problems) > 0 {
			if cerr := dc.Close(); cerr != nil {
				return cerr
			}
			dc = nil
		}
		if rep.Void != "" && m.repeats < maxRepeats {
			m.repeats++
			m.say("void  ", x.name, time.Since(start), rep.Problems)
			if dc, err = Start(ctx, m.settings(s)); err != nil {
				return err
			}
			if rep, err = m.try(ctx, x, dc); err != nil {
				if cerr := dc.Close(); cerr != nil {
					return cerr
				}
				dc = nil
			}
		}
		m.note(x.name, time.Since(start), rep.Problems)
	}
	return nil
}

// maxRepeats is how many cells of a matrix may be run again, in a data centre of
// their own, when all runs that the scenario itself tried were void. A run that
// has measured a loss is not void, nor is one that could not be carried out.
const maxRepeats = 4

// try runs one cell; an error of the run is a problem too.
func (m *matrix) try(ctx context.Context, x trial, dc *DataCentre) (*Report, error) {
	rep, err := x.run(ctx, dc)
	if err != nil {
		rep = &Report{Problems: []string{err.Error()}}
	}
	return rep, err
}

// trial is one thing to run in a data centre.
type trial struct {
	name string
	run  func(context.Context, *DataCentre) (*Report, error)
}

func (m *matrix) cellsOf(s site) (out []trial) {
	at := s.family + "/" + s.attach + "/"
	add := func(name string, run func(context.Context, *DataCentre) (*Report, error)) {
		if strings.Contains(name, m.o.Only) {
			out = append(out, trial{name, run})
		}
	}
	options := func(name string) Options {
		o := Defaults()
		o.Family, o.Attach, o.Bin, o.Seed, o.PPS = s.family, s.attach, m.o.Bin, m.o.Seed, 500
		if m.o.Pcap != "" {
			o.Pcap = filepath.Join(m.o.Pcap, strings.ReplaceAll(name, "/", "-"))
		}
		return o
	}
	for _, c := range s.cells {
		name := at + c.String()
		o := options(name)
		o.Redirect, o.Addresses, o.New, o.Peer = c.redirect, c.addresses, c.policy, c.peer
		add(name, func(ctx context.Context, dc *DataCentre) (*Report, error) { return HotMoveIn(ctx, dc, o) })
	}
	abort := options(at + nameAbort)
	abort.Moves = 2
	add(at+nameAbort, func(ctx context.Context, dc *DataCentre) (*Report, error) { return AbortIn(ctx, dc, abort) })
	idle := options(at + nameIdle)
	idle.Moves = 1
	add(at+nameIdle, func(ctx context.Context, dc *DataCentre) (*Report, error) { return IdleIn(ctx, dc, idle) })
	paused := options(at + nameWarm)
	paused.Moves, paused.Pause = 1, time.Second
	add(at+nameWarm, func(ctx context.Context, dc *DataCentre) (*Report, error) { return WarmIn(ctx, dc, paused) })
	away := options(at + nameCold)
	away.Moves, away.Redirect = 1, mobility.RedirectRouted
	add(at+nameCold, func(ctx context.Context, dc *DataCentre) (*Report, error) { return ColdIn(ctx, dc, away) })
	lost := options(at + nameSourceLost)
	lost.Moves, lost.Redirect = 1, mobility.RedirectRouted
	add(at+nameSourceLost, func(ctx context.Context, dc *DataCentre) (*Report, error) {
		return SourceLostIn(ctx, dc, lost)
	})
	for _, policy := range []mobility.NewConnections{mobility.PolicyDrop, mobility.PolicyReject} {
		o := options("")
		o.New = policy
		add(fmt.Sprintf("%skeep/%s is refused", at, policy), func(ctx context.Context, dc *DataCentre) (*Report, error) {
			problems, err := refused(ctx, dc, o)
			return &Report{Problems: problems}, err
		})
	}
	return out
}

// refused asks for a move that makes no sense, of the lab and of the management
// node: both must say why not, and nothing may have changed.
func refused(ctx context.Context, dc *DataCentre, o Options) (problems []string, err error) {
	const reason = "while addresses are kept"
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), reason) {
		problems = append(problems, fmt.Sprintf("the lab does not refuse: %v", err))
	}
	r := newRun(dc, &o)
	if err := r.settleIn(ctx); err != nil {
		return nil, err
	}
	before, err := r.binding(ctx, r.vm.ID)
	if err != nil {
		return nil, err
	}
	_, err = dc.Mgmt.PrepareMove(ctx, connect.NewRequest(&v1.PrepareMoveRequest{Vm: r.vm.ID, To: ring[1], Mode: "hot", Addresses: o.Addresses.String(),
		Redirect: o.Redirect.String(), NewConnections: o.New.String(), WaitNs: int64(patience)}))
	if err == nil || !strings.Contains(err.Error(), reason) {
		problems = append(problems, fmt.Sprintf("the management node does not refuse: %v", err))
	}
	after, err := r.binding(ctx, r.vm.ID)
	if err == nil && (after.Epoch != before.Epoch || after.Hypervisor != before.Hypervisor || after.State != before.State) {
		problems = append(problems, fmt.Sprintf("the binding has changed: %v -> %v", before, after))
	}
	return problems, err
}
