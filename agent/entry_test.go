package agent

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dpmip/dpmip/agent/bul"
	"github.com/dpmip/dpmip/mobility"
)

var sameRecord = cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, mobility.VMID{}, mobility.Ticket{})}

// roundTrip takes a record through both forms that it is kept in, the entry of
// the region and the JSON on disk, and compares.
func roundTrip(r Record) (Record, error) {
	e, err := r.ToEntry()
	if err != nil {
		return Record{}, err
	}
	out, err := FromEntry(&e)
	if err != nil {
		return Record{}, err
	}
	if diff := cmp.Diff(r, out, sameRecord); diff != "" {
		return Record{}, fmt.Errorf("entry (-want +got):\n%s", diff)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return Record{}, err
	}
	var disk Record
	if err := json.Unmarshal(b, &disk); err != nil {
		return Record{}, err
	}
	if diff := cmp.Diff(r, disk, sameRecord); diff != "" {
		return Record{}, fmt.Errorf("JSON (-want +got):\n%s", diff)
	}
	return out, nil
}

func TestDamagedExtraIsRefused(t *testing.T) {
	t.Parallel()
	r := Record{
		VM: vm1, MAC: mac1, Epoch: 3, Known: 4,
		Leaving: &Leaving{Stamp: 2, Epoch: 3, Pairs: []mobility.Pair{{Old: old6, New: d6}}, Locator: locB, Move: hotKeep, Armed: true, Done: true},
		Spent:   []Spent{{Delivery: mobility.Delivery{Old: old6, D: d6}, State: SpentRestoring, Epoch: 1, Port: "p"}},
	}
	e, err := r.ToEntry()
	if err != nil {
		t.Fatal(err)
	}
	for n := range e.Extra {
		cut := e
		cut.Extra = e.Extra[:n]
		if got, err := FromEntry(&cut); err == nil {
			t.Errorf("%d of %d bytes: read as %+v", n, len(e.Extra), got)
		}
	}
	long := e
	long.Extra = append(append([]byte(nil), e.Extra...), 0)
	if _, err := FromEntry(&long); err == nil {
		t.Error("a trailing byte was accepted")
	}
}

func TestLargestRecordFits(t *testing.T) {
	t.Parallel()
	r := Record{VM: vm1, Incoming: &Incoming{}, Leaving: &Leaving{}}
	for i := range mobility.MaxOldAddresses {
		a := netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i + 1)})
		r.Incoming.Deliveries = append(r.Incoming.Deliveries, mobility.Delivery{Old: a, D: a})
		r.Incoming.Olds = append(r.Incoming.Olds, a)
		r.Leaving.Pairs = append(r.Leaving.Pairs, mobility.Pair{Old: a, New: a})
	}
	for range maxSpent {
		r.Spent = append(r.Spent, Spent{Delivery: mobility.Delivery{Old: old6, D: d6}, State: SpentQuarantine, Epoch: 1 << 31, Port: "fifteen-letters", Until: fromNano(1 << 61)})
	}
	e, err := r.ToEntry()
	if err != nil || len(e.Extra) > bul.MaxExtra {
		t.Fatalf("%d bytes of extra, %v", len(e.Extra), err)
	}
}
