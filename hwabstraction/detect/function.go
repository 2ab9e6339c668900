package detect

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Function is what stands behind a port of an e-switch: a physical port, or a
// function that a machine sees. The kernel names it in phys_port_name.
type Function struct {
	Kind       FunctionKind
	Controller int // 0 = the card's own, 1 = the host of a card with Arm cores; -1 = any, or not told
	PF         int // physical port where Kind is Uplink
	Number     int // of the VF or SF; 0 for others
}

// FunctionKind tells functions apart.
type FunctionKind uint8

// Kinds of functions. The zero FunctionKind is invalid.
const (
	NoFunction FunctionKind = iota
	Uplink                  // "p0": towards the fabric
	HostPF                  // "pf0", or "pf0hpf": the host's own function
	VF                      // "pf0vf3"
	SF                      // "pf0sf88"
)

var functionName = regexp.MustCompile(`^(?:p(\d+)|(?:c(\d+))?pf(\d+)(hpf|vf\d+|sf\d+)?)$`)

// ParseFunction reads a phys_port_name, or what a configuration calls a port:
// the same without the controller "c1" where it does not matter.
func ParseFunction(name string) (Function, bool) {
	m := functionName.FindStringSubmatch(name)
	if m == nil {
		return Function{}, false
	}
	number := func(s string) (n int) {
		if n, _ = strconv.Atoi(s); s == "" {
			n = -1
		}
		return n
	}
	f := Function{Kind: Uplink, Controller: -1, PF: number(m[1])}
	if m[1] != "" {
		return f, f.PF < maxFunction
	}
	f = Function{Kind: HostPF, Controller: number(m[2]), PF: number(m[3])}
	if n, ok := strings.CutPrefix(m[4], "vf"); ok {
		f.Kind, f.Number = VF, number(n)
	} else if n, ok := strings.CutPrefix(m[4], "sf"); ok {
		f.Kind, f.Number = SF, number(n)
	}
	return f, max(f.Controller, f.PF, f.Number) < maxFunction
}

// maxFunction bounds numbers: those of the kernel have at most 32 bits, and
// names have at most 15 bytes.
const maxFunction = 1 << 31

func (f Function) String() string {
	c := ""
	if f.Controller > 0 {
		c = fmt.Sprintf("c%d", f.Controller)
	}
	switch f.Kind {
	case Uplink:
		return fmt.Sprintf("p%d", f.PF)
	case HostPF:
		return fmt.Sprintf("%spf%d", c, f.PF)
	case VF:
		return fmt.Sprintf("%spf%dvf%d", c, f.PF, f.Number)
	case SF:
		return fmt.Sprintf("%spf%dsf%d", c, f.PF, f.Number)
	}
	return "no function"
}

// is reports whether f, as a port tells it, is what a configuration names.
func (f Function) is(want Function) bool {
	if want.Controller < 0 {
		f.Controller = -1
	}
	return f == want
}

// representor reports whether a VM may sit behind it.
func (f Function) representor() bool { return f.Kind == VF || f.Kind == SF }

// function is what stands behind a port; only a port of an e-switch has one.
func (d Netdev) function() Function {
	if d.SwitchID == "" {
		return Function{}
	}
	f, _ := ParseFunction(d.PortName)
	return f
}

// find looks a port up: by what stands behind it, else by its interface's name.
// Of several with one function, that of the fabric's e-switches is meant. A
// name that could be two ports is an error, one that is none gives ok = false.
func find(ports []Netdev, fabric []string, name string) (d Netdev, ok bool, err error) {
	var found []Netdev
	byName := -1
	want, isFunction := ParseFunction(name)
	for i, p := range ports {
		if isFunction && p.function().is(want) {
			found = append(found, p)
		}
		if p.Name == name {
			byName = i
		}
	}
	if len(found) > 1 && want.representor() {
		found = onFabric(ports, fabric, found)
	}
	switch {
	case len(found) == 1:
		return found[0], true, nil
	case byName >= 0:
		return ports[byName], true, nil
	case len(found) > 1:
		return d, false, fmt.Errorf("detect: %s is %s and %s: name the interface", name, found[0].where(), found[1].where())
	}
	return d, false, nil
}

func (d Netdev) where() string { return fmt.Sprintf("%s (e-switch %s)", d.Name, d.SwitchID) }

// onFabric keeps the ports that share an e-switch with a fabric port; all where
// none does.
func onFabric(ports []Netdev, fabric []string, found []Netdev) []Netdev {
	ids := map[string]bool{}
	for _, name := range fabric {
		if d, ok, err := find(ports, nil, name); ok && err == nil && d.SwitchID != "" {
			ids[d.SwitchID] = true
		}
	}
	var out []Netdev
	for _, d := range found {
		if ids[d.SwitchID] {
			out = append(out, d)
		}
	}
	if len(out) == 0 {
		return found
	}
	return out
}
