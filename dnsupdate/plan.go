package dnsupdate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/dpmip/dpmip/internal/strictconf"
)

// ErrNoZone says that a name lies in none of the zones given.
var ErrNoZone = errors.New("dnsupdate: no zone")

// Plan turns a state into one Update per zone, in the order of the zones'
// names. Zones are those that may be needed; a name belongs to the longest that
// contains it. It is pure.
func Plan(s State, zones []string) ([]Update, error) {
	updates, homeless, err := PlanKnown(s, zones)
	if err == nil && len(homeless) > 0 {
		err = noZone(homeless[0], zones)
	}
	if err != nil {
		return nil, err
	}
	return updates, nil
}

// PlanKnown is Plan for the names that lie in a zone; the others are given as
// homeless, sorted.
func PlanKnown(s State, zones []string) (updates []Update, homeless []string, err error) {
	if err := s.Validate(); err != nil {
		return nil, nil, err
	}
	byZone := map[string][]Item{}
	for _, it := range s.items() {
		zone, ok := zoneOf(it.Name, zones)
		if !ok {
			homeless = append(homeless, it.Name)
			continue
		}
		byZone[zone] = append(byZone[zone], it)
	}
	slices.Sort(homeless)
	for zone, items := range byZone {
		slices.SortFunc(items, func(a, b Item) int { return strings.Compare(a.Name, b.Name) })
		updates = append(updates, Update{Zone: zone, VM: s.VM, Version: s.Version, Items: items})
	}
	slices.SortFunc(updates, func(a, b Update) int { return strings.Compare(a.Zone, b.Zone) })
	return updates, homeless, nil
}

func noZone(name string, zones []string) error {
	return fmt.Errorf("%w for %s among %s", ErrNoZone, name, strings.Join(zones, " "))
}

// Names lists every owner name that a state touches, sorted: what must lie in a
// zone.
func (s State) Names() []string {
	var names []string
	for _, it := range s.items() {
		names = append(names, it.Name)
	}
	slices.Sort(names)
	return names
}

// zoneOf finds the longest zone that contains the name.
func zoneOf(name string, zones []string) (best string, ok bool) {
	for _, z := range zones {
		z = canonical(z)
		if dns.IsSubDomain(z, name) && (!ok || len(z) > len(best)) {
			best, ok = z, true
		}
	}
	return best, ok
}

// items gives one Item for each owner name. Names that are an address owner and
// an SRV owner at once become one.
func (s State) items() []Item {
	var list []Item
	at := func(name string) *Item {
		i := slices.IndexFunc(list, func(it Item) bool { return it.Name == name })
		if i < 0 {
			i = len(list)
			list = append(list, Item{Name: name, Gone: len(s.Published) == 0, Purge: s.Final})
		}
		return &list[i]
	}
	for _, n := range s.Services.Names {
		s.addresses(at(canonical(n.Name)), n)
	}
	for _, v := range s.Services.SRV {
		s.service(at(canonical(v.Name)), v)
	}
	if s.Services.Reverse != "" {
		list = append(list, s.reverse()...)
	}
	return list
}

func (s State) addresses(it *Item, n Name) {
	ttl := firstTTL(s.TTL, n.TTL, s.Services.TTL)
	if n.Shared {
		for _, a := range slices.Concat(s.Withdrawn, s.Forgotten) {
			it.Remove = append(it.Remove, addressRecord(a, 0))
		}
	} else {
		it.Exclusive = true
		it.Clear = append(it.Clear, "A", "AAAA")
	}
	for _, a := range s.Published {
		it.Add = append(it.Add, addressRecord(a, ttl))
	}
}

func (s State) service(it *Item, v SRV) {
	data := fmt.Sprintf("%d %d %d %s", v.Priority, v.Weight, v.Port, canonical(v.Target))
	r := Record{Type: "SRV", TTL: firstTTL(v.TTL, s.Services.TTL), Data: data}
	if len(s.Published) == 0 {
		r.TTL = 0
		it.Remove = append(it.Remove, r)
		return
	}
	it.Add = append(it.Add, r)
}

func (s State) reverse() []Item {
	var list []Item
	target := canonical(s.Services.Reverse)
	for _, a := range s.Published {
		list = append(list, Item{
			Name: reverseName(a), Exclusive: true, Clear: []string{"PTR"},
			Add: []Record{{"PTR", firstTTL(s.Services.TTL), target}},
		})
	}
	for _, a := range s.Withdrawn {
		list = append(list, Item{Name: reverseName(a), Gone: true, Remove: []Record{{"PTR", 0, target}}})
	}
	for _, a := range s.Forgotten {
		list = append(list, Item{Name: reverseName(a), Gone: true, Purge: true, Remove: []Record{{"PTR", 0, target}}})
	}
	return list
}

func addressRecord(a netip.Addr, ttl uint32) Record {
	if a.Is4() {
		return Record{"A", ttl, a.String()}
	}
	return Record{"AAAA", ttl, a.String()}
}

// reverseName is the owner of an address's PTR record (RFC 1035 3.5, RFC 3596 2.5).
func reverseName(a netip.Addr) string {
	name, err := dns.ReverseAddr(a.String())
	if err != nil {
		panic("dnsupdate: reverse name of an address that was not validated: " + err.Error())
	}
	return name
}

// firstTTL is the first that is set, in seconds.
func firstTTL(ttls ...strictconf.Duration) uint32 {
	for _, t := range ttls {
		if t != 0 {
			return uint32(t.D() / time.Second)
		}
	}
	return uint32(DefaultTTL / time.Second)
}
