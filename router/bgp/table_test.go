package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/router"
)

// other is the same route from another peer that is listened to.
func other(change func(*Update)) Update {
	return heard(func(u *Update) {
		u.Peer, u.NextHop = addr("2001:db8:f::3"), addr("2001:db8:f::3")
		if change != nil {
			change(u)
		}
	})
}

func gonefrom(u Update) Update { return Update{Peer: u.Peer, Prefix: u.Prefix, Withdraw: true} }

func TestTheBestRouteGoesToTheKernel(t *testing.T) {
	t.Parallel()
	vm := addr("2001:db8:a::7")
	to := func(hop string) []router.Change { return []router.Change{{Address: vm, Locator: addr(hop)}} }
	longer := func(u *Update) { u.Path = []uint32{65003, 65002} }
	foreign := func(u *Update) { u.Tags = Tags{} }
	table := NewTable(config())
	for i, step := range []struct {
		say  []Update
		want []router.Change
	}{
		{[]Update{other(longer)}, to("2001:db8:f::3")},
		{[]Update{heard(nil)}, to("2001:db8:f::2")},     // shorter
		{[]Update{heard(nil)}, nil},                     // again
		{[]Update{other(nil)}, nil},                     // as short, but named later
		{[]Update{heard(longer)}, to("2001:db8:f::3")},  // longer now
		{[]Update{other(foreign)}, to("2001:db8:f::2")}, // no longer believed
		{[]Update{gonefrom(other(nil)), other(nil), other(foreign)}, nil},
		{[]Update{gonefrom(heard(nil))}, []router.Change{{Address: vm}}},
		{[]Update{gonefrom(heard(nil))}, nil},
		{[]Update{heard(nil), gonefrom(heard(nil))}, nil}, // in one batch
	} {
		if diff := cmp.Diff(step.want, table.Take(now, step.say), addrs); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
	accepted, refused := table.Count(addr("2001:db8:f::3"))
	if table.Used() != 0 || accepted != 0 || refused != 1 || table.Refused() != 1 {
		t.Errorf("used %d, accepted %d, refused %d of %d", table.Used(), accepted, refused, table.Refused())
	}
}

func TestTheLimitOfImportsHolds(t *testing.T) {
	t.Parallel()
	c := config()
	c.MaxImports = 2
	table := NewTable(c)
	nth := func(i int) Update {
		return heard(func(u *Update) { u.Prefix = netip.MustParsePrefix(fmt.Sprintf("2001:db8:a::%d/128", i)) })
	}
	if chs := table.Take(now, []Update{nth(1), nth(2), nth(3)}); len(chs) != 2 || table.Used() != 2 || table.Refused() != 1 {
		t.Fatalf("changes %v, used %d, refused %d; want 2, 2, 1", chs, table.Used(), table.Refused())
	}
	if l := table.List()[2]; !errors.Is(l.Refused, ErrFull) || l.Best {
		t.Errorf("third: %+v, want ErrFull", l)
	}
	want := []router.Change{{Address: addr("2001:db8:a::1")}, {Address: addr("2001:db8:a::3"), Locator: addr("2001:db8:f::2")}}
	if diff := cmp.Diff(want, table.Take(now, []Update{gonefrom(nth(1))}), addrs); diff != "" {
		t.Errorf("room again (-want +got):\n%s", diff)
	}
	if table.Used() != 2 || table.Refused() != 0 {
		t.Errorf("used %d, refused %d; want 2, 0", table.Used(), table.Refused())
	}
}
