package software

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/dpmip/dpmip/hwabstraction"
)

func (b *batch) putTrap(i int, r hwabstraction.Trap) error {
	v := newSlot(r, toAddr16(r.Address))
	v.Proto, v.DstPort, v.Rate = r.Protocol, r.DstPort, r.Rate
	key := trapKey{Addr: v.Addr, Class: trapClass(r.Protocol, r.DstPort)}
	var old uint32
	if err := b.d.tables.Traps.Lookup(key, &old); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("software: traps: %w", err)
	}
	if done, err := b.replaces(old, &v); done || err != nil {
		return err
	}
	at, err := b.publish(&v, old)
	if err != nil {
		return err
	}
	if err := b.d.tables.Traps.Put(key, at); err != nil {
		b.retired = append(b.retired, retired{at, old == 0})
		return fmt.Errorf("%w: traps: %w", hwabstraction.ErrTableFull, err)
	}
	if old != 0 {
		b.replaced(old)
		return nil
	}
	p, err := b.entry(v.Addr)
	if err != nil {
		return err
	}
	p.entry.Traps++
	p.made = append(p.made, made{at, i})
	b.touch(v.Addr, p)
	return nil
}

// trapClass is what the programs look a packet up by, beside its destination.
func trapClass(protocol uint8, port uint16) uint32 { return uint32(protocol) | uint32(port)<<16 }

func (b *batch) removeTrap(id hwabstraction.RuleID, s hwabstraction.Stamp) error {
	a := toAddr16(id.Prefix.Addr())
	key := trapKey{Addr: a, Class: trapClass(id.Protocol, id.DstPort)}
	var at uint32
	err := b.d.tables.Traps.Lookup(key, &at)
	if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && !b.d.tables.rules.at[at].owned(s) {
		return nil
	}
	if err == nil {
		err = b.d.tables.Traps.Delete(key)
	}
	if err != nil {
		return fmt.Errorf("software: traps: %w", err)
	}
	b.retire(at)
	p, err := b.entry(a)
	if err != nil {
		return err
	}
	if p.entry.Traps > 0 {
		p.entry.Traps--
	}
	b.touch(a, p)
	return nil
}

// readTraps hands packets from the ring to whoever reads Trapped.
func (d *Device) readTraps() {
	defer d.tasks.Done()
	for {
		rec, err := d.ring.Read()
		if errors.Is(err, ringbuf.ErrClosed) {
			return
		}
		if err != nil {
			d.log.Warn("trap ring", "err", err)
			return
		}
		t, ok := d.parseTrap(rec.RawSample)
		if !ok {
			continue
		}
		select {
		case d.trapped <- t:
		default: // a slow reader loses packets
		}
	}
}

func (d *Device) parseTrap(b []byte) (hwabstraction.Trapped, bool) {
	if len(b) < trapHeader {
		return hwabstraction.Trapped{}, false
	}
	at, n := binary.NativeEndian.Uint32(b), int(binary.NativeEndian.Uint32(b[4:]))
	if int(at) >= len(d.tables.rules.at) || n > len(b)-trapHeader {
		return hwabstraction.Trapped{}, false
	}
	rule := d.tables.rules.at[at].rule()
	if rule == nil {
		return hwabstraction.Trapped{}, false
	}
	return hwabstraction.Trapped{ID: rule.ID(), Frame: b[trapHeader : trapHeader+n : trapHeader+n]}, true
}
