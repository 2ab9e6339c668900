package inventory

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/dpmip/dpmip/mobility"
)

// MayRegister says whether the VM, unknown to the binding cache so far, may
// register at the hypervisor: nil, or a refusal with its reason.
func (i *Inventory) MayRegister(vm mobility.VMID, hypervisor string) *mobility.StatusError {
	v, named := i.VMs[vm]
	switch {
	case !named && !i.Policy.AllowUnknownVMs:
		return mobility.Refuse(mobility.StatusNotVMForThisNode, "vm %s is not in the inventory, and unknown VMs are not allowed", vm)
	case named && len(v.Hypervisors) > 0 && !slices.Contains(v.Hypervisors, hypervisor):
		return mobility.Refuse(mobility.StatusProhibited, "vm %s may register at %s only", vm, strings.Join(v.Hypervisors, ", "))
	}
	return nil
}

// MayMove says whether policy lets the VM move between two hypervisors.
func (i *Inventory) MayMove(vm mobility.VMID, from, to string) *mobility.StatusError {
	if len(i.Policy.Rules) == 0 {
		return nil
	}
	for _, r := range i.Policy.Rules {
		if matchVM(r.VMs, vm) && matchName(r.From, from) && matchName(r.To, to) {
			return nil
		}
	}
	return mobility.Refuse(mobility.StatusProhibited, "no policy rule lets vm %s move from %s to %s", vm, from, to)
}

// MayLeave says whether a VM with these addresses may move between two
// hypervisors: connections of an address behind a NAT box end where the box does
// not see the VM, so such a VM stays in its site (draft section 9).
func (i *Inventory) MayLeave(vm mobility.VMID, addrs []netip.Addr, from, to string) *mobility.StatusError {
	a, b := i.siteOf(from), i.siteOf(to)
	if a == b {
		return nil
	}
	for _, x := range addrs {
		if s := i.Sites[a]; s != nil && within(s.NAT, x) {
			return mobility.Refuse(mobility.StatusProhibited, "%s of vm %s is behind the NAT box of site %s, and %s is in %s: its connections would end (move it inside %s only)",
				x, vm, a, to, siteName(b), a)
		}
	}
	return nil
}

func (i *Inventory) siteOf(hypervisor string) string {
	if h := i.Hypervisors[hypervisor]; h != nil {
		return h.Site
	}
	return ""
}

func siteName(s string) string {
	if s == "" {
		return "no site"
	}
	return "site " + s
}

func matchName(list []string, name string) bool {
	return len(list) == 0 || slices.Contains(list, name)
}

func matchVM(list []string, vm mobility.VMID) bool {
	if len(list) == 0 {
		return true
	}
	text := vm.String()
	for _, p := range list {
		if suffix, ok := strings.CutPrefix(p, "*"); ok && strings.HasSuffix(text, suffix) || p == text {
			return true
		}
	}
	return false
}
