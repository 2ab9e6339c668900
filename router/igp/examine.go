package igp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Finding is one thing looked at.
type Finding struct {
	Name   string
	State  string // ok, warning, failed
	Found  string
	Advice string
}

// Held is one of our host routes as the kernel has it.
type Held struct {
	Prefix   netip.Prefix
	Protocol int // rtm_protocol
}

// wanted is the rtm_protocol that zebra takes for another program's.
const wanted = 201

// ignored tells whether zebra takes routes of that rtm_protocol for its own or
// the kernel's, so that "redistribute kernel" passes them over.
func ignored(protocol int) bool {
	return protocol == 2 || protocol == 11 || protocol == 42 || protocol >= 186 && protocol <= 198
}

// slowArrival is from which minimal interval between two versions of an LSA a
// withdrawal soon after an announcement waits (RFC 2328 MinLSArrival), ms.
const slowArrival = 100

// Examine tells what would keep the host routes from going on.
func Examine(o *Options, f *Facts, held []Held) []Finding {
	out := []Finding{examineNumbers(f, held), examineNextHops(f)}
	for _, p := range o.Protocols {
		out = append(out, examineRedistribution(o, f, p)...)
		out = append(out, examineNeighbours(f, p))
		if p == ISIS && len(o.Interfaces) > 0 {
			out = append(out, examineInterfaces(f))
		}
		if finding, ok := examineTimers(o, f, p); ok {
			out = append(out, finding)
		}
	}
	return out
}

func examineNumbers(f *Facts, held []Held) Finding {
	out := Finding{Name: "FRR sees the host routes", State: "ok", Found: fmt.Sprintf("%d looked at", len(held))}
	for _, h := range held {
		kernel := slices.ContainsFunc(f.Zebra[h.Prefix], func(r Route) bool { return r.Protocol == "kernel" })
		switch {
		case ignored(h.Protocol):
			return Finding{Name: out.Name, State: "failed", Found: fmt.Sprintf("%s goes by a route of protocol %d", h.Prefix, h.Protocol),
				Advice: fmt.Sprintf("who writes that one before ours (%d)? FRR takes 2, 11, 42 and 186 to 198 for its own or the kernel's and does not redistribute them", wanted)}
		case !kernel:
			return Finding{Name: out.Name, State: "failed", Found: fmt.Sprintf("%s (protocol %d) is in the kernel but not in zebra", h.Prefix, h.Protocol),
				Advice: "zebra runs in another network namespace or VRF, or has lost notices: restart it, and raise its netlink buffer (zebra -s)"}
		}
	}
	return out
}

// examineNextHops tells whether zebra may share nexthop objects of the kernel;
// see OwnNextHops.
func examineNextHops(f *Facts) Finding {
	line := strings.TrimSpace(OwnNextHops)
	for l := range strings.Lines(f.Config) {
		if strings.TrimSpace(l) == line {
			return Finding{Name: "FRR keeps its routes", State: "ok", Found: line}
		}
	}
	return Finding{Name: "FRR keeps its routes", State: "warning", Found: "zebra shares nexthop objects of the kernel",
		Advice: "FRR 8.4 then loses routes from the kernel, and says that they are installed, when a link comes back: " + line + ", on all routers, and restart zebra"}
}

// section returns the lines below a line that begins a block of the
// configuration, up to its end.
func section(config, head string) (lines []string, found bool) {
	for line := range strings.Lines(config) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == head || strings.HasPrefix(line, head+" "):
			found = true
		case found && (line == "exit" || line == "!" || line == "end"):
			return lines, true
		case found:
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines, found
}

func (p Protocol) head(o *Options) string {
	switch p {
	case OSPF3:
		return "router ospf6"
	case OSPF2:
		return "router ospf"
	case ISIS:
		return "router isis " + o.tag()
	}
	return fmt.Sprintf("router bgp %d", o.ASN)
}

// redistributions lists how each redistribution begins that the protocol needs.
func (p Protocol) redistributions() []string {
	switch p {
	case ISIS:
		return []string{"redistribute ipv6 kernel", "redistribute ipv4 kernel"}
	}
	return []string{"redistribute kernel"}
}

func examineRedistribution(o *Options, f *Facts, p Protocol) []Finding {
	lines, found := section(f.Config, p.head(o))
	if !found {
		return []Finding{{Name: p.String() + ": configured", State: "failed", Found: "no " + p.head(o), Advice: "add what `dpmip-router frr-config` prints; is the daemon running?"}}
	}
	var out []Finding
	for _, want := range p.redistributions() {
		out = append(out, examineLine(f, p, want, lines))
	}
	return out
}

func examineLine(f *Facts, p Protocol, want string, lines []string) Finding {
	out := Finding{Name: p.String() + ": " + want, State: "ok"}
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) })
	if i < 0 {
		out.State, out.Found, out.Advice = "failed", "is missing", "add what `dpmip-router frr-config` prints"
		return out
	}
	out.Found = lines[i]
	_, name, ok := strings.Cut(lines[i], " route-map ")
	if !ok {
		out.State, out.Advice = "warning", "no route-map: routes of every program in this kernel go on, not only host routes"
		return out
	}
	name, _, _ = strings.Cut(name, " ")
	if problem := routeMapProblem(f.Config, name); problem != "" {
		out.State, out.Found, out.Advice = "failed", problem, "nothing passes: add what `dpmip-router frr-config` prints"
	}
	return out
}

// routeMapProblem says why nothing passes a route-map; empty: something may.
func routeMapProblem(config, name string) string {
	lines, found := section(config, "route-map "+name)
	if !found {
		return "route-map " + name + " does not exist"
	}
	for _, l := range lines {
		_, list, ok := strings.Cut(l, " address prefix-list ")
		if !ok || !strings.HasPrefix(l, "match ") {
			continue
		}
		if !strings.Contains(config, " prefix-list "+list+" ") {
			return "route-map " + name + ": prefix-list " + list + " does not exist"
		}
	}
	return ""
}

// examineInterfaces looks at what stands in for Options.Interfaces with isisd, which
// passes over "match interface": every host route of the kernel goes on, and must
// not be believed by routers that are told themselves.
func examineInterfaces(f *Facts) Finding {
	for _, word := range []string{"ipv6", "ip"} {
		if !strings.Contains("\n"+f.Config, "\n"+word+" protocol isis route-map ") {
			return Finding{Name: "isis: interfaces", State: "warning", Found: "isisd passes over `match interface`: host routes out of every interface go on",
				Advice: "keep the VMs' host routes of IS-IS out of this kernel, and of every router's that the management node tells: " + word + " protocol isis route-map"}
		}
	}
	return Finding{Name: "isis: interfaces", State: "ok", Found: "isisd passes over `match interface`; a filter keeps host routes of IS-IS out of this kernel"}
}

func examineNeighbours(f *Facts, p Protocol) Finding {
	out := Finding{Name: p.String() + ": neighbours", State: "ok"}
	up, total := 0, 0
	for _, n := range f.Peers {
		if n.Protocol != p {
			continue
		}
		total++
		switch {
		case n.up():
			up++
		case n.stuck():
			out.State, out.Found = "failed", fmt.Sprintf("%s on %s stays in %s; our MTU there is %d", n.Name, n.Interface, n.State, f.MTU[n.Interface])
			out.Advice = "the MTU of the two ends differs: make them equal"
			return out
		}
	}
	out.Found = fmt.Sprintf("%d of %d up", up, total)
	if up == 0 {
		out.State, out.Advice = "failed", "nobody hears of the host routes: look at the interfaces of this protocol, timers, areas and keys of both ends"
	} else if up < total {
		out.State, out.Advice = "warning", "some neighbours hear nothing from us"
	}
	return out
}

func examineTimers(o *Options, f *Facts, p Protocol) (Finding, bool) {
	out := Finding{Name: p.String() + ": timers", State: "ok"}
	switch p {
	case OSPF3, OSPF2:
		t, ok := f.OSPF[p]
		if !ok {
			return out, false
		}
		out.Found = fmt.Sprintf("spf delay %d ms, lsa min-arrival %d ms", t.Delay, t.minArrival())
		if t.Delay > slowArrival || t.minArrival() > slowArrival {
			out.State, out.Advice = "warning", "a withdrawal soon after an announcement waits for seconds: timers throttle spf 0 50 500, timers lsa min-arrival 0, on all routers"
		}
	case ISIS:
		gap, ok := f.LSPGap[o.tag()]
		if !ok {
			return out, false
		}
		out.Found = fmt.Sprintf("lsp-gen-interval %d s", gap)
		if gap > 1 {
			out.State, out.Advice = "warning", "a change waits for the next LSP: lsp-gen-interval 1"
		}
	default:
		return out, false
	}
	return out, true
}
