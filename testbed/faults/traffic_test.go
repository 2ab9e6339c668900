package faults

import (
	"context"
	"fmt"
	"time"

	"github.com/dpmip/dpmip/testbed/topology"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// Rates of the traffic: what the hold's default bound covers for the longest
// dead time of a test many times over.
const (
	datagrams   = 250 // per second, each way and family
	connections = 2   // per family
)

// flows is traffic between the mover and its peers, of both families.
type flows struct {
	w       *world
	names   []string
	streams []*traffic.Stream
	groups  []*traffic.TCPGroup
	drops   uint64

	patient   bool // something is held, or the machine is too slow, for longer than TCP waits: its time-outs are no fault
	overtaken bool // datagrams may overtake each other
}

// talk starts traffic with each peer and waits until it flows.
func (w *world) talk(peers ...string) *flows {
	return w.talkTo(mover, datagrams, connections, peers...)
}

// talkTo is talk with another VM, and other rates.
func (w *world) talkTo(vm string, pps, tcp int, peers ...string) *flows {
	w.t.Helper()
	if len(peers) == 0 {
		peers = []string{topology.CN}
	}
	f := &flows{w: w, patient: *slow > 1}
	f.drops, _ = w.dc.Lab.Drops()
	w.t.Cleanup(f.stop)
	for _, p := range peers {
		for _, fam := range families {
			w.ports++
			s, err := traffic.OpenStream(traffic.StreamConfig{ID: uint32(w.ports), PPS: pps,
				A: w.end(p, fam, 10000+w.ports), B: w.end(vm, fam, 10000+w.ports)})
			w.must(err)
			s.Start()
			f.names, f.streams = append(f.names, fmt.Sprintf("%s, IPv%d", p, fam)), append(f.streams, s)
			if tcp == 0 {
				continue
			}
			g, err := traffic.OpenTCP(w.ctx, traffic.TCPConfig{Connections: tcp, Client: w.end(p, fam, 0), Server: w.end(vm, fam, 20000+w.ports)})
			w.must(err)
			f.groups = append(f.groups, g)
		}
	}
	f.more("the beginning")
	return f
}

// more waits until traffic has come through both ways from now on.
func (f *flows) more(when string) {
	f.w.t.Helper()
	for i, s := range f.streams {
		a, b := s.Arrived()
		ctx, cancel := context.WithTimeout(f.w.ctx, slower(10*time.Second))
		err := s.WaitFor(ctx, max(a, b)+10)
		cancel()
		if err != nil {
			f.w.t.Fatalf("%s: nothing comes through between the VM and %s: %v", when, f.names[i], err)
		}
	}
}

func (f *flows) stop() {
	for _, s := range f.streams {
		s.Stop()
	}
	for _, g := range f.groups {
		g.Stop(3 * time.Second)
	}
}

// whole stops the traffic and asserts that both ends count the same: nothing
// lost, twice or overtaken, every connection alive, and without a time-out unless
// the flows are patient.
func (f *flows) whole() {
	f.w.t.Helper()
	f.stop()
	var sent uint64
	for i, s := range f.streams {
		r := s.Whole()
		for _, x := range []struct {
			to   string
			flow traffic.Flow
		}{{"the VM", r.AToB}, {"the peer", r.BToA}} {
			sent += x.flow.Sent
			if x.flow.Lost+x.flow.Duplicated+x.flow.Refused != 0 || x.flow.Reordered != 0 && !f.overtaken {
				f.w.t.Errorf("UDP with %s, to %s: of %d sent %d lost, %d duplicated, %d reordered, %d answered by an ICMP error; longest gap %v",
					f.names[i], x.to, x.flow.Sent, x.flow.Lost, x.flow.Duplicated, x.flow.Reordered, x.flow.Refused, x.flow.Blackout)
			}
		}
	}
	alive := 0
	for i, g := range f.groups {
		r := g.Report(traffic.TCPMark{}, g.Mark())
		alive += r.Survived
		if r.Survived != r.Connections || r.Timeouts != 0 && !f.patient {
			f.w.t.Errorf("TCP with %s: %d of %d connections live, %d time-outs, longest stall %v: %v", f.names[i], r.Survived, r.Connections, r.Timeouts, r.MaxStall, r.Errors)
		}
	}
	f.w.t.Logf("%d datagrams sent and received, %d connections alive", sent, alive)
	if drops, err := f.w.dc.Lab.Drops(); f.w.t.Failed() && err == nil && drops != f.drops {
		f.w.t.Logf("the machine itself dropped %d frames meanwhile: run this again", drops-f.drops)
	}
}
