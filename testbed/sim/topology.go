package sim

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dpmip/dpmip/mgmt/inventory"
)

// The data centre: a spine, three ToRs with a hypervisor each, and the
// management node on the spine.
var (
	hypervisorNames = []string{"a", "b", "c"}
	routerNames     = []string{"ta", "tb", "tc", "s"}
)

const (
	managementName = "m"
	spine          = "s"
)

// Times of the simulated installation. They are short, so that little virtual
// time has to pass until everything has drained.
const (
	bindingLifetime = 2 * time.Minute
	prepareTimeout  = 20 * time.Second
	quarantine      = 20 * time.Second
	drainQuiet      = 10 * time.Second
	drainRetry      = 4 * time.Second
	heartbeat       = 10 * time.Second
	firstRetry      = 50 * time.Millisecond
	maxRetry        = 4 * time.Second
	refusedRetry    = 2 * time.Second
	sampleInterval  = 5 * time.Second
	budgetInterval  = 2 * time.Second
	budgetSettle    = 15 * time.Second
)

func tor(hypervisor string) string { return "t" + hypervisor }

// number is 1, 2, 3 for the hypervisors.
func number(hypervisor string) int { return int(hypervisor[0]-'a') + 1 }

func addrf(format string, args ...any) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf(format, args...))
}

func prefixf(format string, args ...any) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf(format, args...))
}

// locator is a node's address in the fabric.
func locator(name string) netip.Addr {
	switch {
	case name == managementName:
		return addrf("2001:db8:ff::1")
	case name == spine:
		return addrf("2001:db8:f::f")
	case name[0] == 't':
		return addrf("2001:db8:f::%d", number(name[1:]))
	}
	return addrf("2001:db8:%d::1", number(name))
}

func locator4(hypervisor string) netip.Addr { return addrf("192.0.2.%d", number(hypervisor)) }

func ranges(hypervisor string) []netip.Prefix {
	n := number(hypervisor)
	return []netip.Prefix{prefixf("2001:db8:%d:1::/64", n), prefixf("10.%d.0.0/16", n)}
}

func pools(hypervisor string) []netip.Prefix {
	n := number(hypervisor)
	return []netip.Prefix{prefixf("2001:db8:%d:d::/64", n), prefixf("10.10%d.0.0/16", n)}
}

// homeAddr is an address of the n'th VM out of a hypervisor's range.
func homeAddr(hypervisor string, n int, v4 bool) netip.Addr {
	if v4 {
		return addrf("10.%d.200.%d", number(hypervisor), n)
	}
	return addrf("2001:db8:%d:1::1:%x", number(hypervisor), n)
}

// aggregate is a prefix that the fabric routes to a hypervisor.
type aggregate struct {
	prefix     netip.Prefix
	hypervisor string
}

var aggregates = func() (list []aggregate) {
	for _, h := range hypervisorNames {
		own := []netip.Prefix{netip.PrefixFrom(locator(h), 128), netip.PrefixFrom(locator4(h), 32)}
		for _, p := range append(append(own, ranges(h)...), pools(h)...) {
			list = append(list, aggregate{p, h})
		}
	}
	return list
}()

// ownerOf is the hypervisor that the aggregates lead to, "" = none.
func ownerOf(a netip.Addr) string {
	for _, g := range aggregates {
		if g.prefix.Contains(a) {
			return g.hypervisor
		}
	}
	return ""
}

// nextHop is where a router sends a packet by its aggregates and its default
// route; "" = out of the data centre.
func nextHop(router string, dst netip.Addr) string {
	h := ownerOf(dst)
	switch {
	case h != "" && router == tor(h):
		return h
	case router != spine:
		return spine
	case h != "":
		return tor(h)
	}
	return ""
}

var siteInventory, watchedInventory = parsed(""), parsed(`proofs = { observers = ["s", "ta", "tc"], probes = ["2001:db8:fffe::/64", "10.254.0.0/16"] }
`)

// probeRanges are those of watchedInventory.
var probeRanges = []netip.Prefix{prefixf("2001:db8:fffe::/64"), prefixf("10.254.0.0/16")}

func parsed(policy string) *inventory.Inventory {
	inv, err := inventory.Parse("sim.toml", []byte(inventoryText(policy)))
	if err != nil {
		panic(err)
	}
	return inv
}

// site is what the management node goes by.
func (w *World) site() *inventory.Inventory {
	if w.watched {
		return watchedInventory
	}
	return siteInventory
}

func inventoryText(policy string) string {
	var b strings.Builder
	quote := func(list []netip.Prefix) string { return fmt.Sprintf("[%q, %q]", list[0], list[1]) }
	for _, h := range hypervisorNames {
		fmt.Fprintf(&b, "[[hypervisor]]\nname = %q\nlocators = [%q, %q]\nranges = %s\npools = %s\nrouter = %q\n",
			h, locator(h), locator4(h), quote(ranges(h)), quote(pools(h)), tor(h))
	}
	for _, r := range routerNames {
		if r == spine {
			fmt.Fprintf(&b, "[[router]]\nname = %q\nrole = \"spine\"\nlocators = [%q]\n", r, locator(r))
			continue
		}
		fmt.Fprintf(&b, "[[router]]\nname = %q\nrole = \"tor\"\nlocators = [%q]\nuplinks = [%q]\n", r, locator(r), spine)
	}
	fmt.Fprintf(&b, "[policy]\nallow_unknown_vms = true\nadopt_higher_epochs = true\n")
	fmt.Fprintf(&b, "budget = { interval = %q, settle = %q }\n%s", budgetInterval, budgetSettle, policy)
	fmt.Fprintf(&b, "[lifetimes]\nbinding = %[1]q\nredirect = %[1]q\nroute = %[1]q\nprepare = %[2]q\ngrace = \"5s\"\nquarantine = %[3]q\nhistory = \"10m\"\n",
		bindingLifetime, prepareTimeout, quarantine)
	fmt.Fprintf(&b, "[timers]\nfirst_retry = %[1]q\nretry = %[1]q\nmax_retry = %[2]q\nheartbeat = %[3]q\n", firstRetry, maxRetry, heartbeat)
	return b.String()
}
