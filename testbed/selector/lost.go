package selector

import "fmt"

// Lost counts what was dropped at a place where the VM is not. UDP and TCP
// count whole packets and first fragments; Other is the rest: later fragments,
// ARP, ICMP, neighbour discovery.
type Lost struct {
	Frames, Bytes   uint64
	UDP, TCP, Other uint64
}

// Sub gives the difference since an earlier reading.
func (l Lost) Sub(o Lost) Lost {
	return Lost{l.Frames - o.Frames, l.Bytes - o.Bytes, l.UDP - o.UDP, l.TCP - o.TCP, l.Other - o.Other}
}

// Add gives the sum.
func (l Lost) Add(o Lost) Lost {
	return Lost{l.Frames + o.Frames, l.Bytes + o.Bytes, l.UDP + o.UDP, l.TCP + o.TCP, l.Other + o.Other}
}

// LostAtPort counts what hypervisor hv delivered to the VM's port while the VM
// was not there (lost_at_port).
func (s *Switch) LostAtPort(name, hv string) (Lost, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.vm(name)
	if err != nil {
		return Lost{}, err
	}
	index, ok := v.ports[hv]
	if !ok {
		return Lost{}, fmt.Errorf("selector: VM %s has no port at %s", name, hv)
	}
	return s.lost(index)
}

// LostAtPorts is the sum over all hypervisors.
func (s *Switch) LostAtPorts(name string) (Lost, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.vm(name)
	if err != nil {
		return Lost{}, err
	}
	var sum Lost
	for _, index := range v.ports {
		l, err := s.lost(index)
		if err != nil {
			return Lost{}, err
		}
		sum = sum.Add(l)
	}
	return sum, nil
}

// Parked is the number of frames the paused VM's kernel has emitted.
func (s *Switch) Parked(name string) (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.vm(name)
	if err != nil {
		return 0, err
	}
	st, err := v.park.Stats()
	return st.Packets, err
}

func (s *Switch) lost(index int) (Lost, error) {
	var l selectorLost
	if err := s.objs.LostAt.Lookup(uint32(index), &l); err != nil {
		return Lost{}, fmt.Errorf("selector: counters: %w", err)
	}
	return Lost{l.Frames, l.Bytes, l.Udp, l.Tcp, l.Other}, nil
}
