package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/topology"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// session is all traffic between the moving VM and one peer node: a numbered
// UDP stream for each family and a group of TCP connections for each.
type session struct {
	peer    string
	streams []*traffic.Stream
	groups  []*traffic.TCPGroup
}

// Ports of the lab's traffic.
const (
	portUDP    = 7000
	portTCP    = 7100
	portNew    = 7200 // new connections, answered by a traffic.Service in the VM
	portBig    = 7300 // fragmented datagrams
	portFromVM = 7400 // connections that the VM opens
)

// openSession starts traffic between vm and the peer; index makes ports and
// stream numbers unique in a run.
func openSession(ctx context.Context, lab *topology.Lab, vm, peer string, index int, o *Options) (*session, error) {
	s := &session{peer: peer}
	fams := o.families()
	for i, fam := range fams {
		off := uint16(index*len(fams) + i)
		st, err := traffic.OpenStream(traffic.StreamConfig{ID: uint32(off) + 1, PPS: o.PPS,
			A: lab.Endpoint(peer, fam, portUDP+off), B: lab.Endpoint(vm, fam, portUDP+off)})
		if err != nil {
			s.abandon()
			return nil, fmt.Errorf("scenario: UDP between %s and %s: %w", peer, vm, err)
		}
		s.streams = append(s.streams, st)
		st.Start()
		n := o.TCP / len(fams)
		if i == 0 {
			n += o.TCP % len(fams)
		}
		if n == 0 {
			continue
		}
		g, err := traffic.OpenTCP(ctx, traffic.TCPConfig{Connections: n, Client: lab.Endpoint(peer, fam, 0), Server: lab.Endpoint(vm, fam, portTCP+off)})
		if err != nil {
			s.abandon()
			return nil, fmt.Errorf("scenario: TCP between %s and %s: %w", peer, vm, err)
		}
		s.groups = append(s.groups, g)
	}
	return s, s.flowing(ctx)
}

// flowing waits until datagrams have come through both ways.
func (s *session) flowing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, st := range s.streams {
		if err := st.WaitFor(ctx, 5); err != nil {
			s.abandon()
			return fmt.Errorf("scenario: no traffic between %s and the VM: %w", s.peer, err)
		}
	}
	return nil
}

func (s *session) abandon() { s.stop() }

// stop ends sending and waits for what is under way.
func (s *session) stop() {
	for _, st := range s.streams {
		st.Stop()
	}
	for _, g := range s.groups {
		g.Stop(3 * time.Second)
	}
}

// mark is a moment of a session.
type mark struct {
	udp []traffic.Mark
	tcp []traffic.TCPMark
}

func (s *session) mark() mark {
	var m mark
	for _, st := range s.streams {
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
	for i, st := range s.streams {
		r := st.Report(from.udp[i], to.udp[i])
		f := r.Total()
		m.UDP.Sent += f.Sent
		m.UDP.Received += f.Received
		m.UDP.Lost += f.Lost
		m.UDP.Duplicated += f.Duplicated
		m.UDP.Reordered += f.Reordered
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
