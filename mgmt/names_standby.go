package mgmt

import (
	"slices"
	"strings"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
)

// stoodInFor reports whether others serve in the place of a VM whose hypervisor
// does not answer: its addresses are then not to be found by the shared names.
// Where nobody does, they stay: an agent may be dead while its VMs serve.
func (c *Core) stoodInFor(b *Binding) bool {
	v := c.inv.VMs[b.VM]
	if v == nil || !v.Standby || v.Services == nil || !c.lost(b.Hypervisor) {
		return false
	}
	for vm, other := range c.inv.VMs {
		if vm == b.VM || !other.Standby || other.Services == nil || !sharesName(v, other) {
			continue
		}
		if o := c.tx.binding(vm); o != nil && o.Hypervisor != "" && !c.lost(o.Hypervisor) {
			return true
		}
	}
	return false
}

// lost reports whether a peer was heard and is not heard any more.
func (c *Core) lost(name string) bool {
	k := c.contacts[name]
	return k != nil && k.lost
}

func sharesName(a, b *inventory.VM) bool {
	return slices.ContainsFunc(a.Services.Names, func(n dnsupdate.Name) bool {
		return slices.ContainsFunc(b.Services.Names, func(o dnsupdate.Name) bool {
			return strings.EqualFold(strings.TrimSuffix(n.Name, "."), strings.TrimSuffix(o.Name, "."))
		})
	})
}

// standbys looks at every VM that others may stand in for: a hypervisor came or
// went.
func (c *Core) standbys() {
	var list []mobility.VMID
	for vm := range c.namesOf {
		if v := c.inv.VMs[vm]; v != nil && v.Standby {
			list = append(list, vm)
		}
	}
	slices.SortFunc(list, func(a, b mobility.VMID) int { return strings.Compare(a.String(), b.String()) })
	for _, vm := range list {
		c.names(vm)
	}
}
