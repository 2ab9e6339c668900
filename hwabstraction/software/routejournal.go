package software

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
)

// routeKey and encodeRoute are how kernel routes stand in a Journal:
// key = "r", kind, prefix length, address (16); payload = metric, port (16),
// locator (16).
func routeKey(id hwabstraction.RuleID) []byte {
	a := toAddr16(id.Prefix.Addr())
	bits := byte(id.Prefix.Bits())
	return append([]byte{'r', byte(id.Kind), bits, byte(id.Prefix.Addr().BitLen() / 8)}, a[:]...)
}

func encodeRoute(rule hwabstraction.Rule) []byte {
	b := make([]byte, 4, 36)
	var port [16]byte
	var locator addr16
	if r, ok := rule.(hwabstraction.HostRoute); ok {
		binary.BigEndian.PutUint32(b, r.Metric)
		port, locator = portName(r.Port), toAddr16(r.Locator)
	}
	return append(append(b, port[:]...), locator[:]...)
}

func decodeRoute(key []byte, s hwabstraction.Stamp, payload []byte) (hwabstraction.Rule, error) {
	if len(key) != 20 || key[0] != 'r' || len(payload) != 36 {
		return nil, fmt.Errorf("software: journal: record of %d+%d bytes is no route", len(key), len(payload))
	}
	a := netip.AddrFrom16([16]byte(key[4:]))
	if key[3] == 4 {
		a = a.Unmap()
	}
	prefix := netip.PrefixFrom(a, int(key[2]))
	slot := ruleSlot{Port: [16]byte(payload[4:20])}
	switch hwabstraction.Kind(key[1]) {
	case hwabstraction.KindUnreachable:
		return hwabstraction.Unreachable{Stamp: s, Prefix: prefix}, nil
	case hwabstraction.KindHostRoute:
		return hwabstraction.HostRoute{
			Stamp: s, Address: a, Port: slot.port(),
			Locator: addr16(payload[20:36]).addr(), Metric: binary.BigEndian.Uint32(payload),
		}, nil
	}
	return nil, fmt.Errorf("software: journal: kind %d is no route", key[1])
}

// slotJournal keeps routes in the pinned rules map, beside the rules of the
// programs, which never look there.
type slotJournal struct {
	d  *Device
	at map[string]uint32
}

func newSlotJournal(d *Device) *slotJournal { return &slotJournal{d: d, at: map[string]uint32{}} }

func (j *slotJournal) Put(key []byte, s hwabstraction.Stamp, payload []byte) error {
	at, ok := j.d.slots.take()
	if !ok {
		return hwabstraction.ErrTableFull
	}
	v := ruleSlot{
		Kind: key[1], Bits: key[2], Proto: key[3], Addr: addr16(key[4:]),
		Owner: s.Owner, Epoch: s.Epoch, Rate: binary.BigEndian.Uint32(payload),
		Port: [16]byte(payload[4:20]), Locator: addr16(payload[20:36]),
	}
	j.d.tables.rules.at[at].publish(&v)
	old, had := j.at[string(key)]
	j.at[string(key)] = at
	if had {
		j.free(old)
	}
	return nil
}

func (j *slotJournal) free(at uint32) {
	j.d.tables.rules.at[at].clear()
	j.d.slots.give(at)
}

func (j *slotJournal) Delete(key []byte) error {
	if at, ok := j.at[string(key)]; ok {
		delete(j.at, string(key))
		j.free(at)
	}
	return nil
}

// record turns a slot back into what Put was given.
func (j *slotJournal) record(at uint32) (key []byte, s hwabstraction.Stamp, payload []byte) {
	v := &j.d.tables.rules.at[at]
	key = append([]byte{'r', v.Kind, v.Bits, v.Proto}, v.Addr[:]...)
	payload = binary.BigEndian.AppendUint32(nil, v.Rate)
	payload = append(append(payload, v.Port[:]...), v.Locator[:]...)
	return key, v.stamp(), payload
}

// adopt takes over a slot that an earlier process left; of two with one key the
// newer one counts.
func (j *slotJournal) adopt(at uint32) {
	key, s, _ := j.record(at)
	if old, ok := j.at[string(key)]; ok {
		if j.d.tables.rules.at[old].Epoch > s.Epoch {
			j.free(at)
			return
		}
		j.free(old)
	}
	j.at[string(key)] = at
}

func (j *slotJournal) Range(f func(key []byte, s hwabstraction.Stamp, payload []byte) bool) {
	for _, at := range j.at {
		if !f(j.record(at)) {
			return
		}
	}
}
