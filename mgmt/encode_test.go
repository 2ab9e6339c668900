package mgmt

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
)

// TestBindingIsEncodedAsByEncodingJSON fills bindings with anything that their
// types can hold, fields that are added later too.
func TestBindingIsEncodedAsByEncodingJSON(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	for n := range 2000 {
		b := &Binding{}
		if n > 0 {
			fill(rng, reflect.ValueOf(b).Elem())
		}
		want, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		got := string(encodeBinding(b).Value)
		if d := cmp.Diff(string(want), got); d != "" {
			t.Fatalf("%+v (-want +got):\n%s", b, d)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(got), &fields); err != nil {
			t.Fatal(err)
		}
		for f := range fields {
			seen[f] = true
		}
	}
	if want := reflect.TypeFor[Binding]().NumField(); len(seen) != want {
		t.Errorf("%d fields were written in some record, want all %d: %v", len(seen), want, seen)
	}
}

// fill sets every field, and some of them to zero.
func fill(rng *rand.Rand, v reflect.Value) {
	if rng.IntN(4) == 0 {
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Unix(rng.Int64N(4e9), rng.Int64N(1e9)>>rng.IntN(30)).In([]*time.Location{time.UTC, time.FixedZone("", 3600)}[rng.IntN(2)])
		return
	case *netip.Addr:
		*p = netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.Uint32())})
		if rng.IntN(2) == 0 {
			*p = netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 15: byte(rng.Uint32())})
		}
		return
	case *mobility.VMID:
		*p = []mobility.VMID{mobility.NAI("vm1@dc1.example"), mobility.NAI(`<&"\>`), {Subtype: mobility.IDDUID, Bytes: "\x00\xff"}}[rng.IntN(3)]
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(rng, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rng.IntN(4), 4))
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.String:
		v.SetString([]string{"a", "hypervisor 7", "ü", "\u2028<"}[rng.IntN(4)])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(1 + rng.IntN(3)))
	case reflect.Int64:
		v.SetInt(rng.Int64N(1e12))
	case reflect.Float64:
		v.SetFloat(float64(rng.IntN(1e6)) / 8)
	default:
		panic(v.Kind())
	}
}
