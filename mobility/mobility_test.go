package mobility

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func TestNeutralAddrKeepsTheSum(t *testing.T) {
	pool := netip.MustParsePrefix("2001:db8:b:d::/64")
	for i := range 10000 {
		var r [12]byte
		var o [16]byte
		rand.Read(r[:])
		rand.Read(o[:])
		old := netip.AddrFrom16(o)
		if old.Is4In6() {
			continue
		}
		d, err := NeutralAddr(pool, old, r)
		if err != nil {
			t.Fatal(err)
		}
		if !pool.Contains(d) || OnesSum(d) != OnesSum(old) {
			t.Fatalf("run %d: old %s sum %#x, d %s sum %#x", i, old, OnesSum(old), d, OnesSum(d))
		}
	}
}

func TestNeutralAddrRefusesNarrowPools(t *testing.T) {
	for _, p := range []string{"2001:db8::/97", "10.0.0.0/8"} {
		if _, err := NeutralAddr(netip.MustParsePrefix(p), netip.MustParseAddr("2001:db8::1"), [12]byte{}); !errors.Is(err, ErrNotNeutral) {
			t.Errorf("%s: err = %v, want ErrNotNeutral", p, err)
		}
	}
}

func TestVMIDText(t *testing.T) {
	for _, s := range []string{"vm1@dc1.example", "eui48:525400123456", "duid:0001"} {
		id, err := ParseVMID(s)
		if err != nil || id.String() != s {
			t.Errorf("%q -> %v, %v", s, id, err)
		}
	}
	for _, s := range []string{"", "a b", "a@b@c", "eui48:52", string(make([]byte, 64))} {
		if id, err := ParseVMID(s); !errors.Is(err, ErrBadVMID) {
			t.Errorf("%q accepted as %v (err %v)", s, id, err)
		}
	}
}

func TestMoveOptionsValidate(t *testing.T) {
	ok := MoveOptions{ModeHot, AddressesKeep, RedirectTranslated, PolicyRedirect, PhasePrepare}
	if err := ok.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := ok
	bad.New = PolicyDrop
	if bad.Validate() == nil {
		t.Error("drop with kept addresses was accepted")
	}
	if (MoveOptions{}).Validate() == nil {
		t.Error("the zero value was accepted")
	}
}

func TestLifetimeOf(t *testing.T) {
	for d, want := range map[time.Duration]Lifetime{0: 0, time.Second: 1, 4 * time.Second: 1, time.Hour: 900, 1e6 * time.Hour: 0xffff} {
		if got := LifetimeOf(d); got != want {
			t.Errorf("LifetimeOf(%v) = %d, want %d", d, got, want)
		}
	}
}
