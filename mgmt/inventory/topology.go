package inventory

import (
	"cmp"
	"slices"
)

// Step is one router in the order of a change of host routes.
type Step struct {
	Router string
	// Distance in hops from the router where the order starts.
	Distance int
	// After names the routers that must have confirmed before this one is told:
	// the neighbours that may be its next hop.
	After []string
}

// Outwards lists the routers by their distance from the hypervisor's own
// router: the order in which host routes towards it appear, so that no router
// has one before the next hop it will use, and in which routes of addresses
// that are at home there disappear. Routers that are not connected to it are
// not listed; without a router the list is empty.
func (i *Inventory) Outwards(hypervisor string) []Step {
	h, ok := i.Hypervisors[hypervisor]
	if !ok || i.Routers[h.Router] == nil {
		return nil
	}
	links := i.links()
	distance := map[string]int{h.Router: 0}
	queue := []string{h.Router}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, next := range links[at] {
			if _, seen := distance[next]; !seen {
				distance[next] = distance[at] + 1
				queue = append(queue, next)
			}
		}
	}
	var steps []Step
	for name, d := range distance {
		s := Step{Router: name, Distance: d}
		for _, n := range links[name] {
			if distance[n] == d-1 {
				s.After = append(s.After, n)
			}
		}
		slices.Sort(s.After)
		steps = append(steps, s)
	}
	slices.SortFunc(steps, func(a, b Step) int {
		return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Router, b.Router))
	})
	return steps
}

// links are the neighbours of each router, whichever side named the link.
func (i *Inventory) links() map[string][]string {
	links := map[string][]string{}
	for name, r := range i.Routers {
		for _, up := range r.Uplinks {
			links[name] = append(links[name], up)
			links[up] = append(links[up], name)
		}
	}
	for name := range links {
		slices.Sort(links[name])
		links[name] = slices.Compact(links[name])
	}
	return links
}
