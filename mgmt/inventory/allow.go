package inventory

import (
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
