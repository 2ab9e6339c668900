package haltest

import (
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
)

// chaosWorld is the World around a Chaos: nothing but its simulated wires.
type chaosWorld struct{ card *Chaos }

// NewChaosRig is the rig around a Chaos. The plan's ports are the rig's.
func NewChaosRig(p Plan) Rig {
	p.Ports = []string{"fab0", "vm0", "vm1"}
	c := NewChaos(p)
	w := &chaosWorld{c}
	return Rig{Device: c, World: w, Reopen: func(testing.TB) hwabstraction.Device {
		w.card = w.card.Reopen()
		return w.card
	}}
}

func (w *chaosWorld) Fabric() Port { return Port{Name: "fab0", MAC: chaosFabric, Far: chaosRouter} }

func (w *chaosWorld) VMs() []Port {
	return []Port{
		{Name: "vm0", MAC: chaosGateway, Far: MAC{2, 0xd9, 0, 0, 2, 0}},
		{Name: "vm1", MAC: chaosGateway, Far: MAC{2, 0xd9, 0, 0, 2, 1}},
	}
}

func (w *chaosWorld) Send(_ testing.TB, port string, frame []byte) { w.card.Send(port, frame) }

func (w *chaosWorld) Seen(_ testing.TB, port string, _ int, match func([]byte) bool) (out [][]byte) {
	for _, f := range w.card.Left(port) {
		if match(f) {
			out = append(out, f)
		}
	}
	return out
}
