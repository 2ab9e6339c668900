package software

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// LoadFlows implements hwabstraction.Device. The flows table is shared by all
// groups; what one group has loaded stays until the group is gone.
func (d *Device) LoadFlows(ctx context.Context, s hwabstraction.Stamp, flows []hwabstraction.Flow) (int, error) {
	d.apply.Lock()
	defer d.apply.Unlock()
	g, done, err := d.find(s)
	if err != nil {
		return 0, err
	}
	defer done()
	taken := 0
	for i, f := range flows {
		if i%1024 == 0 && ctx.Err() != nil {
			return taken, ctx.Err()
		}
		g.slot.Flows++ // before the write: a crash must not leave orphans
		err := d.tables.Flows.Put(keyOf(f, g.slot.Serial), uint8(1))
		if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOMEM) {
			g.slot.set(instOverflow)
			return taken, fmt.Errorf("%w: flows: %d of %d taken", hwabstraction.ErrTableFull, taken, len(flows))
		}
		if err != nil {
			return taken, fmt.Errorf("software: flows: %w", err)
		}
		taken++
	}
	return taken, nil
}

const (
	protocolICMP  = 1
	protocolICMP6 = 58
)

func keyOf(f hwabstraction.Flow, serial uint32) flowKey {
	vm, peer := f.VM.Port, f.Peer.Port
	if f.Protocol == protocolICMP || f.Protocol == protocolICMP6 {
		id := max(vm, peer) // one identifier, wherever it was written
		vm, peer = id, id
	}
	return flowKey{
		VM: toAddr16(f.VM.Addr), Peer: toAddr16(f.Peer.Addr), Serial: serial,
		VMPort: bigEndian(vm), PeerPort: bigEndian(peer), Proto: uint32(f.Protocol),
	}
}

// bigEndian is v as the wire has it: maps are compared byte by byte, and the
// objects are little-endian.
func bigEndian(v uint16) uint16 { return bits.ReverseBytes16(v) }

// dropFlows forgets the flows of one group.
func (d *Device) dropFlows(serial uint32) {
	var k flowKey
	var v uint8
	var old []flowKey
	it := d.tables.Flows.Iterate()
	for it.Next(&k, &v) {
		if k.Serial == serial {
			old = append(old, k)
		}
	}
	for _, k := range old {
		if err := d.tables.Flows.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			d.log.Warn("flow not forgotten", "err", err)
		}
	}
}
