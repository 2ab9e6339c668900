package software

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/dpmip/dpmip/hwabstraction"
)

// findable reads the whole index, some thousand entries a call of the kernel,
// and tells of each slot whether the programs find it: it is named where they
// look for it. Slots in use are below the result's length. Caller holds apply,
// or is the only one there is.
func (d *Device) findable() ([]bool, error) {
	rules := d.tables.rules
	found := make([]bool, d.tables.Rules.MaxEntries())
	var failed error
	// named notes that the index names a slot where a rule of that kind would
	// be looked for; the slot's own words decide whether that is it.
	named := func(at uint32, kind hwabstraction.Kind, fits func(*ruleSlot) bool) {
		if at == 0 || int(at) >= len(found) {
			return
		}
		if err := rules.reach(at); err != nil {
			failed = err
			return
		}
		if s := &rules.at[at]; s.Kind == uint8(kind) && fits(s) {
			found[at] = true
		}
	}
	err := dump(d.tables.Dsts, func(a addr16, e dstEntry) {
		here := func(s *ruleSlot) bool { return s.Addr == a }
		named(e.Redirect, hwabstraction.KindRedirect, here)
		named(e.Deliver, hwabstraction.KindDeliver, here)
	})
	err = errors.Join(err, dump(d.tables.Sources, func(k wideKey, at uint32) {
		named(at, hwabstraction.KindEgress, func(s *ruleSlot) bool { return s.Addr == k.addr() && s.Ifindex == k.word() })
	}))
	err = errors.Join(err, dump(d.tables.Traps, func(k wideKey, at uint32) {
		named(at, hwabstraction.KindTrap, func(s *ruleSlot) bool {
			return s.Addr == k.addr() && trapClass(s.Proto, s.DstPort) == k.word()
		})
	}))
	return found, errors.Join(err, failed)
}

// wideKey is an egressKey or trapKey as the kernel has it: a type without
// padding is copied, not taken apart.
type wideKey [24]byte

func (k *wideKey) addr() addr16 { return addr16(k[:16]) }

func (k *wideKey) word() uint32 { return binary.NativeEndian.Uint32(k[16:]) }

// dumpBatch is how many entries of a map are read at once.
const dumpBatch = 2048

// dump calls each with all entries of a hash map.
func dump[K, V any](m *ebpf.Map, each func(K, V)) error {
	keys, values := make([]K, dumpBatch), make([]V, dumpBatch)
	for cursor := (ebpf.MapBatchCursor{}); ; {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("software: read %s: %w", m, err)
		}
		for i := range n {
			each(keys[i], values[i])
		}
		if err != nil { // the end
			return nil
		}
	}
}
