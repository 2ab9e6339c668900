package sim

import (
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
)

// guest is a VM, and its orchestrator's knowledge of it.
type guest struct {
	id    mobility.VMID
	port  string
	mac   mobility.MAC
	home  string       // where it is attached first
	first []netip.Addr // its addresses there

	where    string       // the hypervisor that its port is at; "" = nowhere
	attached bool         // registered, and meant to be reachable
	addrs    []netip.Addr // that it has
	olds     []netip.Addr // that it had, and that have not drained
	job      job          // what its orchestrator is busy with; nil = nothing

	// top is the highest epoch that was ever activated.
	top uint32
	// hazard says why its packets may be lost for now; "" = they may not.
	hazard      string
	hazardUntil mobility.Epoch // it ends with the DRAIN of this move; 0 = when all is quiet
	// gone: it was detached, and routers or anchors have not all been told. A
	// host route then leads to a hypervisor that sends the packet back.
	gone bool
	// excused are hypervisors that go on delivering without having been told
	// better: sources of cold moves, and fenced ones.
	excused map[string]bool
	// orphaned are addresses that a cold move kept: their home does not redirect
	// them, and the VMs beside it do not reach them (docs/moves.md row 14).
	orphaned map[netip.Addr]bool
	// acked is the registration that was acknowledged last.
	acked ack
	// deliveries are all the delivery addresses that were ever seen.
	deliveries []netip.Addr
}

// ack is an acknowledged registration.
type ack struct {
	hypervisor string
	epoch      mobility.Epoch
}

// job is something that an orchestrator is busy with.
type job interface{ String() string }

func newGuest(name string, n int, home string, v6, v4 bool) *guest {
	g := &guest{
		id: mobility.NAI(name), port: "p-" + name, home: home, mac: mobility.MAC{2, 0, 0, 0, 0, byte(n)},
		excused: map[string]bool{}, orphaned: map[netip.Addr]bool{},
	}
	if v6 {
		g.first = append(g.first, homeAddr(home, n, false))
	}
	if v4 {
		g.first = append(g.first, homeAddr(home, n, true))
	}
	return g
}

// live are the addresses at which the VM is to be reached.
func (g *guest) live() []netip.Addr {
	if !g.attached {
		return nil
	}
	return append(slices.Clone(g.addrs), g.olds...)
}

// endanger notes that packets may be lost until the move has been confirmed by
// all (epoch 0: until all is quiet).
func (g *guest) endanger(why string, until mobility.Epoch) {
	if g.hazard != "" && g.hazardUntil == 0 {
		return
	}
	g.hazard, g.hazardUntil = why, until
}

// noteDeliveries remembers the delivery addresses of rules.
func (w *World) noteDeliveries(rules []hwabstraction.Rule) {
	for _, r := range rules {
		d, ok := r.(hwabstraction.Deliver)
		if !ok || d.Address == d.Restore {
			continue
		}
		for _, g := range w.guests {
			if g.port == d.Port && !slices.Contains(g.deliveries, d.Address) {
				g.deliveries = append(g.deliveries, d.Address)
			}
		}
	}
}
