package inventory

import (
	"maps"
	"slices"
	"strings"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/mobility"
)

// claimedName is a DNS name that a VM has and where it says so.
type claimedName struct {
	key    string
	shared bool
}

// services checks a VM's service list, and that no two VMs have one name for
// themselves.
func (b *builder) services(at string, s *dnsupdate.Services) error {
	if s == nil {
		return nil
	}
	if err := s.Validate(); err != nil {
		return b.src.Errorf(at, "%v", err)
	}
	for _, n := range s.Names {
		name := strings.ToLower(strings.TrimSuffix(n.Name, "."))
		if other, taken := b.owners[name]; taken && !(other.shared && n.Shared) {
			return b.src.Errorf(at+".names", "%s is already a name of %s (line %d): say shared = true at both, or take it off one", n.Name, other.key, b.src.Line(other.key))
		}
		b.owners[name] = claimedName{at, n.Shared}
	}
	return nil
}

// allShared reports whether there are names, and each is shared with others.
func allShared(s *dnsupdate.Services) bool {
	return s != nil && len(s.Names) > 0 && !slices.ContainsFunc(s.Names, func(n dnsupdate.Name) bool { return !n.Shared })
}

// CheckNames reports the first service list with a name that lies in none of
// the zones, with its line; with no zone at all there may be no services.
func (i *Inventory) CheckNames(zones []string) error {
	for _, id := range slices.SortedFunc(maps.Keys(i.served), func(a, b mobility.VMID) int { return strings.Compare(i.served[a], i.served[b]) }) {
		vm := i.VMs[id]
		s := dnsupdate.State{VM: vm.ID, Services: *vm.Services, Version: dnsupdate.Version{Epoch: 1, Step: 1}}
		if _, err := dnsupdate.Plan(s, zones); err != nil {
			return i.src.Errorf(i.served[id], "%v", err)
		}
	}
	return nil
}
