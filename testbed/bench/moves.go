package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/scenario"
)

// Traffic of the moves.
const (
	movePPS   = 5000 // datagrams per second, each way
	moveTCP   = 16   // connections
	movePause = 50 * time.Millisecond
)

// moveCell is one combination of options.
type moveCell struct {
	family    string
	redirect  mobility.RedirectMode
	addresses mobility.Addressing
	policy    mobility.NewConnections
	peer      string
}

func (c moveCell) String() string {
	return fmt.Sprintf("IPv%s %s/%s/%s, peer %s", c.family, c.redirect, c.addresses, c.policy, c.peer)
}

// moveCells are those of an ordinary run, or all of them.
func moveCells(o *Options) []moveCell {
	tr, ro := mobility.RedirectTranslated, mobility.RedirectRouted
	keep, renumber := mobility.AddressesKeep, mobility.AddressesRenumber
	usual := []moveCell{
		{"6", tr, keep, mobility.PolicyRedirect, scenario.PeerOutside},
		{"4", tr, renumber, mobility.PolicyDrop, scenario.PeerOutside},
		{"6", ro, keep, mobility.PolicyRedirect, scenario.PeerOutside},
		{"4", ro, renumber, mobility.PolicyReject, scenario.PeerSource},
	}
	if o.Quick {
		return usual[:1]
	}
	if !o.Long {
		return usual
	}
	var all []moveCell
	for _, family := range []string{"6", "4"} {
		for _, peer := range []string{scenario.PeerOutside, scenario.PeerSource, scenario.PeerDestination, scenario.PeerThird} {
			for _, redirect := range []mobility.RedirectMode{tr, ro} {
				all = append(all, moveCell{family, redirect, keep, mobility.PolicyRedirect, peer})
				for _, policy := range []mobility.NewConnections{mobility.PolicyRedirect, mobility.PolicyDrop, mobility.PolicyReject} {
					all = append(all, moveCell{family, redirect, renumber, policy, peer})
				}
			}
		}
	}
	return all
}

// moveCount is how many moves a cell has: whole rounds A, B, C.
func moveCount(o *Options) int {
	switch {
	case o.Long:
		return 1002
	case o.Quick:
		return 30
	}
	return 201
}

// tally sums the cells up.
type tally struct {
	moves, lost, duplicated, died, timeouts int
	ready, armed                            Samples // ms, us
}

// moves moves a VM under traffic, cell by cell, everything counted at the
// endpoints.
func moves(ctx context.Context, o *Options) (out []Figure, err error) {
	var t tally
	for _, family := range []string{"6", "4"} {
		figures, err := movesOf(ctx, o, family, &t)
		if err != nil {
			return nil, err
		}
		out = append(out, figures...)
	}
	how := fmt.Sprintf("%d moves in %d cells, %d datagrams/s each way, %d TCP connections", t.moves, len(moveCells(o)), movePPS, moveTCP)
	return append(out,
		value("datagrams lost", "", float64(t.lost)).atMost(0).note("%s", how),
		value("datagrams duplicated", "", float64(t.duplicated)).atMost(0),
		value("connections lost", "", float64(t.died)).atMost(0),
		value("TCP time-outs", "", float64(t.timeouts)).atMost(0),
		t.ready.median("move prepare to ready, p50, under this traffic", "ms").atMost(30),
		t.armed.figure("arming, the device's part, p99", "us", 0.99)), nil
}

// movesOf runs the cells of one family in one data centre.
func movesOf(ctx context.Context, o *Options, family string, t *tally) (out []Figure, err error) {
	var cells []moveCell
	for _, c := range moveCells(o) {
		if c.family == family {
			cells = append(cells, c)
		}
	}
	if len(cells) == 0 {
		return nil, nil
	}
	dc, err := scenario.Start(ctx, scenario.Settings{Bin: o.Bin, Seed: o.Seed})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dc.Close()) }()
	for _, c := range cells {
		fmt.Fprintf(o.Out, "  %s\n", c)
		all, err := c.run(ctx, o, dc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
		out = append(out, t.add(c, all))
	}
	return out, nil
}

// renumberings is how many moves of a renumbered VM follow one another: every old
// address stays in use, and a VM has at most 16 of them. Then they drain.
const renumberings = 12

// run makes the moves of a cell, in as many runs as that takes.
func (c moveCell) run(ctx context.Context, o *Options, dc *scenario.DataCentre) (all []result.Move, err error) {
	s := c.options(o)
	left, most := s.Moves, s.Moves
	if c.addresses == mobility.AddressesRenumber {
		most = renumberings
	}
	for ; left > 0; left -= s.Moves {
		s.Moves = min(left, most)
		rep, err := scenario.HotMoveIn(ctx, dc, s)
		if err != nil {
			return nil, err
		}
		if rep.Void != "" {
			return nil, fmt.Errorf("void: %s", rep.Void)
		}
		for _, p := range rep.Problems {
			fmt.Fprintf(o.Out, "    %s\n", p)
		}
		all = append(all, rep.Moves...)
	}
	return all, nil
}

func (c moveCell) options(o *Options) scenario.Options {
	s := scenario.Defaults()
	s.Family, s.Redirect, s.Addresses, s.New, s.Peer = c.family, c.redirect, c.addresses, c.policy, c.peer
	s.Moves, s.PPS, s.TCP, s.Pause, s.Settle = moveCount(o), movePPS, moveTCP, movePause, 50*time.Millisecond
	s.Seed, s.Bin, s.Capture = o.Seed, o.Bin, false
	return s
}

// add counts a cell's moves and gives their blackout.
func (t *tally) add(c moveCell, moves []result.Move) Figure {
	var blackout Samples
	for _, m := range moves {
		t.moves++
		t.lost += int(m.UDP.Lost)
		t.duplicated += int(m.UDP.Duplicated)
		t.died += m.TCP.Connections - m.TCP.Survived
		t.timeouts += int(m.TCP.Timeouts)
		blackout = append(blackout, millis(time.Duration(m.Blackout)))
		if m.Redirect.Armed != nil {
			t.armed = append(t.armed, float64(*m.Redirect.Armed)/1e3)
		}
		at := map[string]int64{}
		for _, p := range m.Phases {
			at[p.Name] = p.At
		}
		t.ready = append(t.ready, float64(at["ready"]-at["prepare"])/1e6)
	}
	return blackout.figure("blackout p99, "+c.String(), "ms", 0.99).atMost(millis(movePause)+2).note("median %s ms; the pause is %v", amount(blackout.Median()), movePause)
}
