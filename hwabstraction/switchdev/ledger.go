package switchdev

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"reflect"

	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// unitKey names what is planned at once: a VM's addresses on all uplinks, or
// (port not empty) a VM's port.
type unitKey struct {
	vm   owner
	port string
}

func (k unitKey) String() string {
	if k.port != "" {
		return "port " + k.port
	}
	return fmt.Sprintf("VM %x", k.vm[:4])
}

// matchKey tells filters of one priority apart: it holds one for each match.
type matchKey struct {
	port     int32
	chain    uint32
	priority uint16
	match    flower.Match
}

func keyOf(f flower.Filter) matchKey { return matchKey{f.Port, f.Chain, f.Priority, f.Match} }

// place is where the kernel has a filter.
type place struct {
	port     int32
	chain    uint32
	priority uint16
	handle   uint32
}

func placeOf(f flower.Filter) place { return place{f.Port, f.Chain, f.Priority, f.Handle} }

// ledger is what the kernel has of ours, as far as we know.
type ledger struct {
	units  map[unitKey]map[matchKey]wanted
	places map[place]unitKey
	keys   map[place]matchKey
}

func newLedger() *ledger {
	return &ledger{units: map[unitKey]map[matchKey]wanted{}, places: map[place]unitKey{}, keys: map[place]matchKey{}}
}

func (l *ledger) put(k unitKey, w wanted) {
	if l.units[k] == nil {
		l.units[k] = map[matchKey]wanted{}
	}
	l.units[k][keyOf(w.Filter)] = w
	l.places[placeOf(w.Filter)], l.keys[placeOf(w.Filter)] = k, keyOf(w.Filter)
}

func (l *ledger) remove(k unitKey, f flower.Filter) {
	delete(l.places, placeOf(f))
	delete(l.keys, placeOf(f))
	if delete(l.units[k], keyOf(f)); len(l.units[k]) == 0 {
		delete(l.units, k)
	}
}

// forget drops what was on a port that is gone.
func (l *ledger) forget(port int32) {
	for k, fs := range l.units {
		for _, w := range fs {
			if w.Port == port {
				l.remove(k, w.Filter)
			}
		}
	}
}

// closed reports whether no packet comes to a unit's rules: each port with
// entries has its gate closed.
func (l *ledger) closed(k unitKey) bool {
	open, gates := map[int32]bool{}, map[int32]bool{}
	for m := range l.units[k] {
		switch {
		case m.chain == entryChain:
			open[m.port] = true
		case m.priority == gatePriority:
			gates[m.port] = true
		}
	}
	for port := range open {
		if !gates[port] {
			return false
		}
	}
	return true
}

// handle gives a filter that has none the one of its match: the same in every
// process, so that filters are recognised.
func (l *ledger) handle(k unitKey, f *flower.Filter) {
	if f.Handle != 0 {
		return
	}
	if have, ok := l.units[k][keyOf(*f)]; ok {
		f.Handle = have.Handle
		return
	}
	for f.Handle = hash(f.Match) | 1; ; f.Handle += 2 {
		if _, taken := l.places[placeOf(*f)]; !taken {
			return
		}
	}
}

// hash is of what a filter matches, the same in every process.
func hash(m flower.Match) uint32 {
	b := make([]byte, 0, 64)
	for _, p := range []netip.Prefix{m.Source, m.Destination} {
		b = append(append(b, p.Addr().AsSlice()...), byte(p.Bits()))
	}
	b = append(append(b, m.SourceMAC[:]...), m.DestinationMAC[:]...)
	b = append(b, m.Protocol, m.HopLimit, m.HopLimitMask)
	for _, v := range []uint16{m.Flags, m.FlagsMask, uint16(m.State), m.Zone} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	h := fnv.New32a()
	h.Write(b)
	return h.Sum32()
}

// same reports whether what stands there says the same as a filter.
func (w wanted) same(f flower.Filter) bool {
	if w.found != nil {
		return w.found.Holds(f)
	}
	return reflect.DeepEqual(w.Filter, f)
}

// chainOf is where the search for a VM's chain begins.
func chainOf(o owner) uint32 {
	const room = 1<<27 - firstChain
	h := binary.BigEndian.Uint64(o[:8]) ^ binary.BigEndian.Uint64(o[8:])
	return firstChain + uint32(h%(room/2))*2
}
