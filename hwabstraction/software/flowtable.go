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
	keys := make([]flowKey, 0, min(len(flows), flowBatch))
	values := make([]uint8, cap(keys))
	for i := range values {
		values[i] = 1
	}
	taken := 0
	for taken < len(flows) {
		if err := ctx.Err(); err != nil {
			return taken, err
		}
		keys = keys[:0]
		for _, f := range flows[taken:min(taken+flowBatch, len(flows))] {
			keys = append(keys, keyOf(f, g.slot.Serial))
		}
		g.slot.Flows += uint32(len(keys)) // before the write: a crash must not leave orphans
		n, err := d.tables.Flows.BatchUpdate(keys, values[:len(keys)], nil)
		taken += n
		if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOMEM) {
			g.slot.set(instOverflow)
			return taken, fmt.Errorf("%w: flows: %d of %d taken", hwabstraction.ErrTableFull, taken, len(flows))
		}
		if err != nil {
			return taken, fmt.Errorf("software: flows: %w", err)
		}
	}
	return taken, nil
}

// flowBatch is how many flows go to the kernel or come from it with a call.
const flowBatch = 1024

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
	var old []flowKey
	var at ebpf.MapBatchCursor
	keys, values := make([]flowKey, flowBatch), make([]uint8, flowBatch)
	for {
		n, err := d.tables.Flows.BatchLookup(&at, keys, values, nil)
		for _, k := range keys[:n] {
			if k.Serial == serial {
				old = append(old, k)
			}
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) { // that was all
			break
		}
		if err != nil {
			d.log.Warn("flows not read", "err", err)
			break
		}
	}
	for len(old) > 0 {
		n, err := d.tables.Flows.BatchDelete(old[:min(flowBatch, len(old))], nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			d.log.Warn("flows not forgotten", "err", err)
			return
		}
		old = old[max(n, 1):]
	}
}
