package scenario

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/capture"
	"github.com/dpmip/dpmip/testbed/peers/frr"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/topology"
)

// frozenSteps is a move during which the IGP's daemons of both spines stand
// still: no update passes them, and they compute no routes, until everybody has
// confirmed. They stand still for less than the dead interval, so that only what
// a move changes is late.
var frozenSteps = []step{
	{"prepare", (*run).prepare}, {"release", (*run).release}, {"carry", (*run).carry}, {"freeze", (*run).freeze}, {"activate", (*run).activate},
	{"reach", (*run).reach}, {"settle", (*run).settle}, {"thaw", (*run).thaw}, {"prove", (*run).prove}, {"loops", (*run).expired},
}

const (
	stageFrozen = "IGP of the spines frozen"
	stageThawed = "IGP of the spines goes on"
)

func (r *run) freeze(ctx context.Context, m *move) error {
	var err error
	if m.expired, err = r.o.two.fabric.expired(); err != nil {
		return err
	}
	if err := r.o.two.fabric.eachSpine((*frr.Router).Freeze); err != nil {
		return err
	}
	r.undo = append(r.undo, func() error { return r.o.two.fabric.eachSpine((*frr.Router).Thaw) })
	return r.stage(ctx, m, stageFrozen)
}

func (r *run) thaw(ctx context.Context, m *move) error {
	if err := r.o.two.fabric.eachSpine((*frr.Router).Thaw); err != nil {
		return err
	}
	return r.stage(ctx, m, stageThawed)
}

func (f *fabric) eachSpine(do func(*frr.Router, frr.Daemon) error) error {
	return f.igp([]string{topology.Spine1, topology.Spine2}, do)
}

// expired notes packets whose hop limit ran out in a move: those of a loop.
func (r *run) expired(_ context.Context, m *move) error {
	now, err := r.o.two.fabric.expired()
	if err == nil && now != m.expired {
		r.problem("%s: the hop limit of %d packets ran out", m, now-m.expired)
	}
	return err
}

// expired is how many packets' hop limit has run out so far, at all routers: what
// their kernels have counted as ICMP errors of that kind.
func (f *fabric) expired() (sum uint64, err error) {
	for _, r := range f.dc.Lab.Plan.Routers {
		for _, file := range []struct{ path, name string }{{"/proc/thread-self/net/snmp6", "Ip6InHdrErrors"}, {"/proc/thread-self/net/snmp", "Ip InHdrErrors"}} {
			text, err := f.dc.Lab.Node(r.Name).NS.ReadFile(file.path)
			if err != nil {
				return 0, fmt.Errorf("scenario: %s: %w", r.Name, err)
			}
			n, err := counter(string(text), file.name)
			if err != nil {
				return 0, fmt.Errorf("scenario: %s: %s: %w", r.Name, file.path, err)
			}
			sum += n
		}
	}
	return sum, nil
}

// counter finds "Name value" or, for "Table Name", a column of a line of names
// that a line of values follows.
func counter(text, name string) (uint64, error) {
	table, column, twoLines := strings.Cut(name, " ")
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) < 2 || f[0] != table && f[0] != table+":":
		case !twoLines:
			return strconv.ParseUint(f[1], 10, 64)
		case names == nil:
			names = f
		default:
			for i, n := range names {
				if n == column && i < len(f) {
					return strconv.ParseUint(f[i], 10, 64)
				}
			}
		}
	}
	return 0, fmt.Errorf("no counter %q", name)
}

// crossing is one datagram of a stream on one link in one direction. On its way
// home, between release and activation, a redirected datagram may pass a link
// twice: to the home, to where the VM was, and home again. One that is seen there
// more often has gone in a circle.
type crossing struct {
	link   int
	from   [6]byte
	stream uint32
	number uint64
	way    byte
}

// loops counts how often datagrams have crossed a link more than twice.
type loops struct {
	seen map[crossing]int
	most int // crossings of one datagram
	hit  int // datagrams
}

// see takes a frame of a link.
func (l *loops) see(link int, f capture.Frame) {
	// 8 bytes of UDP, then the stream's header.
	if f.Protocol != unix.IPPROTO_UDP || !ours(f) || len(f.Payload) < 8+25 || len(f.Data) < 12 {
		return
	}
	b := f.Payload[8:]
	c := crossing{link, [6]byte(f.Data[6:12]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint64(b[8:]), b[24]}
	l.seen[c]++
	if n := l.seen[c]; n > 2 {
		l.most = max(l.most, n)
		if n == 3 {
			l.hit++
		}
	}
}

// judgeLoops tells of datagrams that went in a circle. While a link or a router
// goes, an IGP makes circles whoever uses it; else there may be none.
func (r *run) judgeLoops(l *loops) {
	if r.o.two == nil {
		return
	}
	r.circles = &result.Loops{Datagrams: l.hit, Most: l.most}
	fmt.Fprintf(r.o.Out, "%d datagrams went in a circle, at most %d times over one link\n", l.hit, l.most)
	if l.hit > 0 && (r.o.Fault == "" || r.o.Fault == FaultIGPFrozen || r.o.Fault == FaultIGPOrder) {
		r.problem("%d datagrams went in a circle, one of them %d times over the same link", l.hit, l.most)
	}
}
