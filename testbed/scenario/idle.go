package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/ti-mo/conntrack"

	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/topology"
)

const nameIdle = "idle"

// How soon connection tracking forgets in this scenario, and how long a
// connection is silent before each move.
const (
	forgottenAfter = time.Second
	silentFor      = 2500 * time.Millisecond
)

// idleSteps is a move of a VM with connections that nothing has used for
// longer than connection tracking remembers them.
var idleSteps = []step{
	{"sleep", (*run).sleep}, {"prepare", (*run).prepare}, {"release", (*run).release}, {"carry", (*run).carry},
	{"activate", (*run).activate}, {"settle", (*run).settle}, {"wake", (*run).wake},
}

// sleeper is a TCP connection that is used only to see that it lives.
type sleeper struct {
	vm, peer net.Conn
	port     uint16 // of the peer
}

// Idle brings a data centre up whose hypervisors forget connections after a
// second, and moves a VM with connections that were silent for longer. They
// must live on, whichever end speaks first.
func Idle(ctx context.Context, o Options) (*Report, error) {
	o.steps, o.scenario = idleSteps, nameIdle
	return HotMove(ctx, o)
}

// IdleIn is Idle in a data centre that is up.
func IdleIn(ctx context.Context, dc *DataCentre, o Options) (*Report, error) {
	o.steps, o.scenario = idleSteps, nameIdle
	return HotMoveIn(ctx, dc, o)
}

// sleep opens the connections before the first move, lets them be silent, and
// makes sure that the source has forgotten them.
func (r *run) sleep(ctx context.Context, m *move) error {
	if r.sleepers == nil {
		if err := r.openSleepers(ctx, m); err != nil {
			return err
		}
	}
	clock.SleepUntil(clock.Now() + silentFor)
	known, err := r.tracked(m.from)
	if err != nil {
		return err
	}
	for _, s := range r.sleepers {
		if slices.Contains(known, s.port) {
			return fmt.Errorf("scenario: %s: %s still tracks the connection of port %d after %v", m, m.from, s.port, silentFor)
		}
	}
	return r.stage(ctx, m, "forgotten by conntrack")
}

// openSleepers makes two connections of each family: one that the peer will
// use first, one that the VM will.
func (r *run) openSleepers(ctx context.Context, m *move) error {
	for _, h := range r.dc.Lab.Plan.Hypervisors {
		if err := r.forgetSoon(h.Name); err != nil {
			return err
		}
	}
	for _, fam := range r.o.families() {
		at := r.end(mover, fam, portIdle)
		l, err := at.NS.Listen(ctx, "tcp", at.Addr.String())
		if err != nil {
			return fmt.Errorf("scenario: %s: %w", m, err)
		}
		r.undo = append(r.undo, l.Close)
		for range 2 {
			if err := r.openSleeper(ctx, l, r.dc.Lab.Node(m.peer)); err != nil {
				return fmt.Errorf("scenario: %s: idle connection: %w", m, err)
			}
		}
	}
	return nil
}

func (r *run) openSleeper(ctx context.Context, l net.Listener, peer *topology.Node) error {
	c, err := peer.NS.Dial(ctx, &net.Dialer{Timeout: time.Second, KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}, "tcp", l.Addr().String())
	if err != nil {
		return err
	}
	r.undo = append(r.undo, c.Close)
	v, err := l.Accept()
	if err != nil {
		return err
	}
	r.undo = append(r.undo, v.Close)
	s := &sleeper{vm: v, peer: c, port: uint16(c.LocalAddr().(*net.TCPAddr).Port)}
	r.sleepers = append(r.sleepers, s)
	if err := v.(*net.TCPConn).SetKeepAlive(false); err != nil {
		return err
	}
	return errors.Join(say(c, v), say(v, c))
}

// wake uses the connections: every other one from the VM first.
func (r *run) wake(ctx context.Context, m *move) error {
	for i, s := range r.sleepers {
		first, second := s.peer, s.vm
		if i%2 == 1 {
			first, second = second, first
		}
		if err := errors.Join(say(first, second), say(second, first)); err != nil {
			r.problem("%s: a connection that was silent for %v has not survived: %v", m, silentFor, err)
		}
	}
	return r.stage(ctx, m, "idle connections used")
}

// say sends a word and waits for its arrival.
func say(from, to net.Conn) error {
	word := []byte("still there?")
	deadline := time.Now().Add(time.Second)
	if err := errors.Join(from.SetDeadline(deadline), to.SetDeadline(deadline)); err != nil {
		return err
	}
	if _, err := from.Write(word); err != nil {
		return err
	}
	_, err := io.ReadFull(to, make([]byte, len(word)))
	return err
}

// forgetSoon shortens what a hypervisor's connection tracking remembers, until
// the end of the run.
func (r *run) forgetSoon(hv string) error {
	ns := r.dc.Lab.Node(hv).NS
	for _, key := range []string{"tcp_timeout_established", "tcp_timeout_unacknowledged", "udp_timeout", "udp_timeout_stream"} {
		key = "net.netfilter.nf_conntrack_" + key
		old, err := ns.ReadFile("/proc/sys/net/netfilter/" + key[len("net.netfilter."):])
		if err != nil {
			return fmt.Errorf("scenario: %s: %w", hv, err)
		}
		if err := ns.Sysctl(key, fmt.Sprint(int(forgottenAfter.Seconds()))); err != nil {
			return err
		}
		r.undo = append(r.undo, func() error { return ns.Sysctl(key, string(old)) })
	}
	return nil
}

// tracked lists the client ports of the TCP connections to the VM that a
// hypervisor's connection tracking knows.
func (r *run) tracked(hv string) (ports []uint16, err error) {
	var c *conntrack.Conn
	err = r.dc.Lab.Node(hv).NS.Do(func() (err error) {
		c, err = conntrack.Dial(nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("scenario: conntrack of %s: %w", hv, err)
	}
	defer c.Close()
	flows, err := c.Dump(nil)
	if err != nil {
		return nil, fmt.Errorf("scenario: conntrack of %s: %w", hv, err)
	}
	for _, f := range flows {
		for _, p := range []conntrack.ProtoTuple{f.TupleOrig.Proto, f.TupleReply.Proto} {
			if p.DestinationPort == portIdle {
				ports = append(ports, p.SourcePort)
			}
		}
	}
	return ports, nil
}
