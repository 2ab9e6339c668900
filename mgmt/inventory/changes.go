package inventory

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Changes says, for people, what differs between two inventories.
func Changes(old, now *Inventory) []string {
	var list []string
	list = append(list, diff("hypervisor", old.Hypervisors, now.Hypervisors)...)
	list = append(list, diff("router", old.Routers, now.Routers)...)
	list = append(list, diff("observer", old.Observers, now.Observers)...)
	list = append(list, diff("site", old.Sites, now.Sites)...)
	for vm := range now.VMs {
		switch {
		case old.VMs[vm] == nil:
			list = append(list, fmt.Sprintf("vm %s: added", vm))
		case !reflect.DeepEqual(old.VMs[vm], now.VMs[vm]):
			list = append(list, fmt.Sprintf("vm %s: changed", vm))
		}
	}
	for vm := range old.VMs {
		if now.VMs[vm] == nil {
			list = append(list, fmt.Sprintf("vm %s: removed", vm))
		}
	}
	if !reflect.DeepEqual(old.Policy, now.Policy) {
		list = append(list, "policy: changed")
	}
	if old.Lifetimes != now.Lifetimes {
		list = append(list, "lifetimes: changed, for what is granted from now on")
	}
	if old.Timers != now.Timers {
		list = append(list, "timers: changed, but only a restart puts them in force")
	}
	slices.Sort(list)
	return list
}

func diff[V any](what string, old, now map[string]*V) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		switch before := old[name]; {
		case before == nil:
			list = append(list, fmt.Sprintf("%s %s: added", what, name))
		case !reflect.DeepEqual(before, now[name]):
			list = append(list, fmt.Sprintf("%s %s: changed", what, name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if now[name] == nil {
			list = append(list, fmt.Sprintf("%s %s: removed", what, name))
		}
	}
	return list
}
