package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// session is all traffic between the moving VM and one peer node: for each
// family a numbered UDP stream, one of datagrams that are fragmented, and a
// group of TCP connections.
type session struct {
	peer    string
	within  time.Duration // until traffic flows
	streams []*traffic.Stream
	big     []*traffic.Stream
	groups  []*traffic.TCPGroup
	sparse  bool // fewer datagrams than asked for: a silence of theirs means nothing
}

// Ports of the lab's traffic.
const (
	portUDP    = 7000
	portTCP    = 7100
	portBig    = 7300 // fragmented datagrams
	portFromVM = 7400 // connections that the VM opens
	portIdle   = 7500 // connections that are used only after a move
	portNAT    = 7600 // connections through a NAT box
	portClaim  = 7700 // while another hypervisor claims the mover; one a family
	portNew    = 8000 // new connections: the first of portsNew
	portsNew   = 10000
)

// Fragmented datagrams: their size, and how many a second at most.
const (
	bigSize = 4000
	bigPPS  = 100
)

// openSession starts traffic between the mover and the peer; index makes ports
// and stream numbers unique in a run.
func openSession(ctx context.Context, r *run, peer string, index, pps, connections int) (*session, error) {
	s := &session{peer: peer, within: r.o.slow(5 * time.Second), sparse: pps < r.o.PPS}
	fams := r.o.families()
	for i, fam := range fams {
		off := uint16(index*len(fams) + i)
		if err := s.openFamily(ctx, r, fam, off, pps, share(connections, len(fams), i)); err != nil {
			s.stop()
			return nil, fmt.Errorf("scenario: traffic between %s and %s: %w", peer, mover, err)
		}
	}
	return s, s.flowing(ctx)
}

// share is the i-th of n about equal parts.
func share(sum, n, i int) int {
	part := sum / n
	if i < sum%n {
		part++
	}
	return part
}

func (s *session) openFamily(ctx context.Context, r *run, fam int, off uint16, pps, connections int) error {
	for _, c := range []struct {
		into      *[]*traffic.Stream
		id        uint32
		pps, size int
		port      uint16
	}{{&s.streams, 1, pps, 0, portUDP}, {&s.big, 1001, min(pps, bigPPS), bigSize, portBig}} {
		st, err := traffic.OpenStream(traffic.StreamConfig{ID: c.id + uint32(off), PPS: c.pps, Size: c.size,
			A: r.end(s.peer, fam, c.port+off), B: r.end(mover, fam, c.port+off)})
		if err != nil {
			return err
		}
		*c.into = append(*c.into, st)
		st.Start()
	}
	if connections == 0 {
		return nil
	}
	g, err := traffic.OpenTCP(ctx, traffic.TCPConfig{Connections: connections, Client: r.end(s.peer, fam, 0), Server: r.end(mover, fam, portTCP+off)})
	if err != nil {
		return err
	}
	s.groups = append(s.groups, g)
	return nil
}

func (s *session) udp() []*traffic.Stream {
	return append(s.streams[:len(s.streams):len(s.streams)], s.big...)
}

// flowing waits until datagrams have come through both ways.
func (s *session) flowing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	for _, st := range s.udp() {
		if err := st.WaitFor(ctx, 3); err != nil {
			s.stop()
			return fmt.Errorf("scenario: no traffic between %s and the VM: %w", s.peer, err)
		}
	}
	return nil
}

// stop ends sending and waits for what is under way.
func (s *session) stop() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, g := range s.groups {
			g.Stop(3 * time.Second)
		}
	}()
	stopAll(s.udp())
	<-done
}

// stopAll stops streams side by side: each waits for what is under way.
func stopAll(streams []*traffic.Stream) {
	done := make(chan struct{})
	for _, st := range streams {
		go func() { st.Stop(); done <- struct{}{} }()
	}
	for range streams {
		<-done
	}
}

// mark is a moment of a session.
type mark struct {
	udp []traffic.Mark
	tcp []traffic.TCPMark
}

func (s *session) mark() mark {
	var m mark
	for _, st := range s.udp() {
		m.udp = append(m.udp, st.Mark())
	}
	for _, g := range s.groups {
		m.tcp = append(m.tcp, g.Mark())
	}
	return m
}

// add puts what happened between two marks into a move's figures. Only after
// stop.
func (s *session) add(m *result.Move, from, to mark) {
	for i, st := range s.udp() {
		r := st.Report(from.udp[i], to.udp[i])
		f := r.Total()
		m.UDP.Sent += f.Sent
		m.UDP.Received += f.Received
		m.UDP.Lost += f.Lost
		m.UDP.Duplicated += f.Duplicated
		m.UDP.Reordered += f.Reordered
		if s.sparse || i >= len(s.streams) { // too few for a silence to mean anything
			continue
		}
		for _, d := range []traffic.Flow{r.AToB, r.BToA} {
			m.Blackout = max(m.Blackout, result.Millis(d.Blackout))
		}
	}
	for i, g := range s.groups {
		r := g.Report(from.tcp[i], to.tcp[i])
		m.TCP.Connections += r.Connections
		m.TCP.Survived += r.Survived
		m.TCP.Timeouts += r.Timeouts
		m.TCP.MaxStall = max(m.TCP.MaxStall, result.Millis(r.MaxStall))
	}
}
