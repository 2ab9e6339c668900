package bul

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/internal/cells"
	"github.com/dpmip/dpmip/mobility"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// compare knows netip.Addr, and takes empty slices for equal.
var compare = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}

// mustOpen opens a list, and holds what it was called with meanwhile against
// what the list has then.
func mustOpen(t testing.TB, area []byte) *List {
	t.Helper()
	n, seen := 0, map[string]string{}
	l, whole, err := OpenEach(area, func(e *Entry) {
		n++
		seen[e.ID.String()] = string(appendValue(nil, e))
	})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if whole && (n != l.Len() || !maps.Equal(seen, encoded(l))) {
		t.Fatalf("%d entries given while opening, %d in the list (-list +given):\n%s", n, l.Len(), cmp.Diff(encoded(l), seen))
	}
	return l
}

func mustPut(t testing.TB, l *List, e *Entry) {
	t.Helper()
	if err := l.Put(e); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

func mustPort(t testing.TB, name string) Port {
	t.Helper()
	p, err := PortOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func content(l *List) map[string]Entry {
	m := map[string]Entry{}
	l.Range(func(e *Entry) bool { m[e.ID.String()] = clone(e); return true })
	return m
}

func clone(e *Entry) Entry {
	c := *e
	c.Slots = append([]netip.Addr(nil), e.Slots...)
	c.Deliveries = append([]Delivery(nil), e.Deliveries...)
	c.Redirects = append([]mobility.Pair(nil), e.Redirects...)
	c.Extra = append([]byte(nil), e.Extra...)
	return c
}

func randomAddr(rng *rand.Rand, v6 bool) netip.Addr {
	if !v6 {
		return netip.AddrFrom4([4]byte{10, byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())})
	}
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	for i := 4; i < 16; i++ {
		a[i] = byte(rng.Uint32())
	}
	return netip.AddrFrom16(a)
}

// randomEntry uses every field, each one sometimes and at any length.
func randomEntry(rng *rand.Rand, id mobility.VMID) Entry {
	some := func() bool { return rng.IntN(2) == 0 }
	e := Entry{ID: id, Role: Role(1 + rng.IntN(5)), Epoch: mobility.Epoch(rng.Uint32())}
	if some() {
		e.Flags, e.Sequence, e.Lifetime = Flags(rng.Uint32()), uint16(rng.Uint32()), mobility.Lifetime(rng.Uint32())
		e.ExpiresAt, e.SentAt, e.QuarantineUntil = rng.Int64(), rng.Int64(), rng.Int64()
	}
	if some() {
		e.MAC, e.Ticket = mobility.MAC{2, 1, byte(rng.Uint32())}, mobility.Ticket{9, byte(rng.Uint32())}
		copy(e.Port[:], "tap-abcdefghijk"[:rng.IntN(MaxPort+1)])
		e.Move = mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectTranslated,
			New: mobility.PolicyRedirect, Phase: mobility.Phase(rng.IntN(4))}
	}
	for range rng.IntN(mobility.MaxSlots + 1) {
		e.Slots = append(e.Slots, randomAddr(rng, some()))
	}
	if some() {
		for range rng.IntN(mobility.MaxOldAddresses + 1) {
			v6 := some()
			d := Delivery{Delivery: mobility.Delivery{Old: randomAddr(rng, v6), D: randomAddr(rng, v6)}, Flags: DeliveryFlags(rng.IntN(128))}
			if some() {
				d.Until = rng.Int64()
			}
			e.Deliveries = append(e.Deliveries, d)
		}
	}
	if some() {
		for range rng.IntN(mobility.MaxOldAddresses + 1) {
			v6 := some()
			e.Redirects = append(e.Redirects, mobility.Pair{Old: randomAddr(rng, v6), New: randomAddr(rng, v6)})
		}
		e.Locator, e.Locator4 = randomAddr(rng, true), randomAddr(rng, false)
		e.Extra = bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(600))
	}
	return e
}

// largest is an entry with every field at its limit.
func largest(t testing.TB) Entry {
	rng := rand.New(rand.NewPCG(1, 1))
	e := randomEntry(rng, mobility.NAI(strings.Repeat("x", mobility.MaxIDLen)))
	e.Flags, e.MAC, e.Port, e.Lifetime = 1, mobility.MAC{1}, mustPort(t, strings.Repeat("p", MaxPort)), 1
	e.ExpiresAt, e.SentAt, e.Sequence, e.QuarantineUntil = 1, 1, 1, 1
	e.Slots, e.Deliveries, e.Redirects = nil, nil, nil
	for range mobility.MaxSlots {
		e.Slots = append(e.Slots, randomAddr(rng, true))
	}
	for range mobility.MaxOldAddresses {
		a, b := randomAddr(rng, true), randomAddr(rng, true)
		e.Deliveries = append(e.Deliveries, Delivery{Delivery: mobility.Delivery{Old: a, D: b}, Until: 1})
		e.Redirects = append(e.Redirects, mobility.Pair{Old: a, New: b})
	}
	e.Locator, e.Locator4, e.Ticket = randomAddr(rng, true), randomAddr(rng, false), mobility.Ticket{1}
	e.Move.Mode, e.Extra = mobility.ModeHot, make([]byte, MaxExtra)
	return e
}

func TestLargestEntry(t *testing.T) {
	t.Parallel()
	e := largest(t)
	if got := RecordSize(&e); got != listKind.MaxRecord {
		t.Errorf("record of %d bytes, want %d", got, listKind.MaxRecord)
	}
	l := mustOpen(t, make([]byte, AreaSize(1, RecordSize(&e))))
	mustPut(t, l, &e)
	mustPut(t, l, &e) // an update fits into the reserve
	var got Entry
	if found, err := l.Get(e.ID, &got); !found || err != nil {
		t.Fatalf("Get = %v, %v", found, err)
	}
	if diff := cmp.Diff(e, got, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	other := Entry{ID: mobility.NAI("other"), Role: RoleServing}
	if err := l.Put(&other); !errors.Is(err, ErrFull) {
		t.Errorf("Put into a full list: %v, want ErrFull", err)
	}
}

// TestAgainstMap does random operations on a list and on a Go map.
func TestAgainstMap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 2))
		area := make([]byte, AreaSize(20, 1500))
		l, want := mustOpen(t, area), map[string]Entry{}
		var got Entry
		full := 0
		for range 3000 {
			id := mobility.VMID{Subtype: mobility.IDSubtype(1 + rng.IntN(2)), Bytes: fmt.Sprintf("vm%d", rng.IntN(40))}
			switch op := rng.IntN(100); {
			case op < 55:
				e := randomEntry(rng, id)
				err := l.Put(&e)
				if err == nil {
					want[id.String()] = e
				} else if full++; !errors.Is(err, ErrFull) {
					t.Fatalf("Put: %v", err)
				}
			case op < 75:
				_, had := want[id.String()]
				if l.Delete(id) != had {
					t.Fatalf("Delete(%s) = %v", id, !had)
				}
				delete(want, id.String())
			case op < 98:
				w, had := want[id.String()]
				found, err := l.Get(id, &got)
				if err != nil || found != had {
					t.Fatalf("Get(%s) = %v, %v", id, found, err)
				}
				if diff := cmp.Diff(w, got, compare); found && diff != "" {
					t.Fatalf("Get(%s) (-want +got):\n%s", id, diff)
				}
			default:
				l = mustOpen(t, area)
			}
			if l.Len() != len(want) {
				t.Fatalf("Len = %d, want %d", l.Len(), len(want))
			}
		}
		if diff := cmp.Diff(want, content(l), compare); diff != "" {
			t.Errorf("seed %d (-want +got):\n%s", seed, diff)
		}
		if s := l.Stats(); full == 0 || s.Torn != 0 {
			t.Errorf("seed %d: full %d times, %d torn", seed, full, s.Torn)
		}
	}
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")
	tests := map[string]func(*Entry){
		"no identifier":       func(e *Entry) { e.ID = mobility.VMID{} },
		"long identifier":     func(e *Entry) { e.ID.Bytes = strings.Repeat("x", mobility.MaxIDLen+1) },
		"no role":             func(e *Entry) { e.Role = 0 },
		"unknown role":        func(e *Entry) { e.Role = 77 },
		"too many slots":      func(e *Entry) { e.Slots = make([]netip.Addr, mobility.MaxSlots+1) },
		"empty slot":          func(e *Entry) { e.Slots = make([]netip.Addr, 1) },
		"slot with a zone":    func(e *Entry) { e.Slots = []netip.Addr{netip.MustParseAddr("fe80::1%eth0")} },
		"slot mapped":         func(e *Entry) { e.Slots = []netip.Addr{netip.MustParseAddr("::ffff:1.2.3.4")} },
		"too many deliveries": func(e *Entry) { e.Deliveries = make([]Delivery, mobility.MaxOldAddresses+1) },
		"mixed delivery":      func(e *Entry) { e.Deliveries = []Delivery{{Delivery: mobility.Delivery{Old: v4, D: v6}}} },
		"delivery flag": func(e *Entry) {
			e.Deliveries = []Delivery{{Delivery: mobility.Delivery{Old: v4, D: v4}, Flags: 0x80}}
		},
		"too many redirects": func(e *Entry) { e.Redirects = make([]mobility.Pair, mobility.MaxOldAddresses+1) },
		"mixed redirect":     func(e *Entry) { e.Redirects = []mobility.Pair{{Old: v6, New: v4}} },
		"locator":            func(e *Entry) { e.Locator = v4 },
		"IPv4 locator":       func(e *Entry) { e.Locator4 = v6 },
		"long extra":         func(e *Entry) { e.Extra = make([]byte, MaxExtra+1) },
	}
	l := mustOpen(t, make([]byte, AreaSize(4, 100)))
	good := Entry{ID: mobility.NAI("vm"), Role: RoleServing}
	mustPut(t, l, &good)
	for name, spoil := range tests {
		e := good
		if spoil(&e); l.Put(&e) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if diff := cmp.Diff(map[string]Entry{"vm": good}, content(l), compare); diff != "" {
		t.Errorf("content after refusals (-want +got):\n%s", diff)
	}
	if _, err := PortOf(strings.Repeat("x", MaxPort+1)); err == nil {
		t.Error("long port name accepted")
	}
}

// encoded is the content of a list as the bytes of its entries: quick to compare.
func encoded(l *List) map[string]string {
	m := map[string]string{}
	l.Range(func(e *Entry) bool { m[e.ID.String()] = string(appendValue(nil, e)); return true })
	return m
}

// TestCrashAfterEveryStore opens the list as it is after every single store of
// a put and of a delete.
func TestCrashAfterEveryStore(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 3))
	area := make([]byte, AreaSize(6, 1500))
	l, acked := mustOpen(t, area), map[string]string{}
	snap := make([]byte, len(area))
	stores := 0
	for range 30 {
		id := mobility.NAI(fmt.Sprintf("vm%d", rng.IntN(4)))
		e, put := randomEntry(rng, id), rng.IntN(4) > 0
		next := maps.Clone(acked)
		delete(next, id.String())
		if put {
			next[id.String()] = string(appendValue(nil, &e))
		}
		l.table.SetStoreHook(func() {
			stores++
			copy(snap, area)
			got := encoded(mustOpen(t, snap))
			if !maps.Equal(got, acked) && !maps.Equal(got, next) {
				t.Fatalf("store %d: neither old nor new (-new +got):\n%s", stores, cmp.Diff(next, got))
			}
		})
		if put {
			mustPut(t, l, &e)
		} else {
			l.Delete(id)
		}
		acked = next
	}
	if stores < 1000 {
		t.Errorf("only %d stores seen", stores)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	area := make([]byte, AreaSize(4, 100))
	newer := listKind
	newer.Version++
	if _, err := cells.Format(area, newer); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(area); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer list: %v, want ErrVersion", err)
	}
	area[0] ^= 1
	if _, err := Open(area); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged header: %v, want ErrCorrupt", err)
	}
	if _, err := Format(area); err != nil {
		t.Errorf("Format: %v", err)
	}
	if l := mustOpen(t, area); l.Len() != 0 {
		t.Errorf("%d entries after Format", l.Len())
	}
	if _, err := Open(area[:len(area)-cells.CellSize]); !errors.Is(err, hwabstraction.ErrRegionLayout) {
		t.Errorf("a smaller area: %v, want ErrRegionLayout", err)
	}
}

// TestUndecodableEntry has a right checksum over a value that is none.
func TestUndecodableEntry(t *testing.T) {
	t.Parallel()
	area := make([]byte, AreaSize(4, 100))
	l := mustOpen(t, area)
	good := Entry{ID: mobility.NAI("vm"), Role: RoleServing}
	mustPut(t, l, &good)
	if err := l.table.Put([]byte("\x01bad"), []byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, area)
	if diff := cmp.Diff(map[string]Entry{"vm": good}, content(l), compare); diff != "" || l.Stats().Torn != 1 {
		t.Errorf("%d torn, want 1 (-want +got):\n%s", l.Stats().Torn, diff)
	}
}
