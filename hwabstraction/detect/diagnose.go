package detect

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/dpmip/dpmip/hwabstraction"
)

// State is the outcome of a check.
type State uint8

// States. The zero State is invalid.
const (
	StateInvalid State = iota
	StateGood
	StateUnknown // could not be found out
	StateWarning // works, but not as it should
	StateBad     // something of the system's main job cannot work
)

func (s State) String() string {
	return [...]string{"invalid", "good", "unknown", "warning", "bad"}[s]
}

// MarshalText is the name of the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // what to do; "" where it is good
}

// Diagnose tells what of a machine stands in the way of the agent, and what to
// do about it. It is pure.
func Diagnose(e Environment) []Check {
	ct := StateWarning
	if e.switching() { // filters ask conntrack which flows are established
		ct = StateBad
	}
	checks := []Check{e.capability("CAP_NET_ADMIN", StateBad), e.capability("CAP_SYS_ADMIN", StateBad), e.capability("CAP_NET_RAW", StateBad)}
	checks = append(checks,
		e.feature(BPF, StateBad, "use a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF"),
		e.attach(),
		e.feature(IFB, StateBad, "load the module ifb: without it nothing can be held while a VM moves"),
		e.feature(TBF, StateBad, "load the module sch_tbf: without it nothing can be held while a VM moves"),
		e.feature(CtLookup, StateWarning, "use a kernel of 6.1 or later with BTF and nf_conntrack: without it new flows cannot be told from old ones and all are redirected"),
		e.feature(NFTables, StateWarning, "load the module nf_tables: it wakes connection tracking and rejects new flows"),
		e.bpfDir(), e.region(), e.memlock(),
		e.sysctl("net.ipv4.ip_forward", "1", StateBad, ""),
		e.sysctl("net.ipv6.conf.all.forwarding", "1", StateBad, ""),
		e.rpFilter(),
		e.sysctl("net.netfilter.nf_conntrack_tcp_loose", "1", ct, "connections that arrive with a VM would be invalid"),
		e.sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", "1", ct, "traffic of which the kernel sees one way only would be invalid"),
		e.conntrackMax(),
		e.sysctl("net.ipv4.conf.all.arp_accept", "1", StateWarning, "a VM that announces itself is not learned"),
		e.untrackedNA(), e.clock(),
	)
	return slices.Concat(checks, e.fabricPorts(), e.eswitches(), e.fastPath())
}

// check makes a Check of an answer: yes is good, no is as bad as bad.
func check(name string, f Finding, bad State, advice string) Check {
	c := Check{Name: name, State: StateGood, Found: cmp.Or(f.Reason, "present")}
	switch f.Answer {
	case hwabstraction.No:
		c.State, c.Advice, c.Found = bad, advice, cmp.Or(f.Reason, "absent")
	case hwabstraction.Unknown:
		c.State, c.Advice, c.Found = StateUnknown, advice, cmp.Or(f.Reason, "could not be found out")
	}
	return c
}

func (e Environment) capability(name string, bad State) Check {
	return check(name, e.Capabilities[name], bad, "run as root, or grant it (systemd: AmbientCapabilities="+name+")")
}

func (e Environment) feature(name string, bad State, advice string) Check {
	return check(name, e.Features[name], bad, advice)
}

// attach is good with either way; TCX alone can be replaced without a gap.
func (e Environment) attach() Check {
	tcx, cls := e.Features[TCX], e.Features[ClsBPF]
	switch {
	case tcx.Answer == hwabstraction.Yes:
		return Check{Name: "attach", State: StateGood, Found: "TCX"}
	case cls.Answer == hwabstraction.Yes:
		return Check{Name: "attach", State: StateGood, Found: "cls_bpf (no TCX: " + tcx.Reason + ")"}
	case tcx.Answer == hwabstraction.No && cls.Answer == hwabstraction.No:
		return Check{
			Name: "attach", State: StateBad, Found: "neither TCX nor cls_bpf: " + tcx.Reason + "; " + cls.Reason,
			Advice: "load the modules sch_ingress and cls_bpf, or use Linux 6.6 or later",
		}
	}
	return Check{Name: "attach", State: StateUnknown, Found: cmp.Or(tcx.Reason, cls.Reason), Advice: "run the check as root"}
}

func (e Environment) bpfDir() Check {
	c := Check{Name: "bpffs", State: StateGood, Found: e.BPFDir.Path + " is on " + e.BPFDir.Type}
	switch {
	case e.BPFDir.Path == "":
		c.State, c.Found = StateUnknown, "no directory was named"
	case e.BPFDir.Type == "":
		c.State, c.Found = StateUnknown, e.BPFDir.Path+" does not exist yet"
	case e.BPFDir.Type != "bpf":
		c.State = StateWarning
		c.Advice = "the agent mounts one there; mount it at boot where the agent may not"
	}
	return c
}

func (e Environment) region() Check {
	d := e.RegionDir
	c := Check{Name: "region", State: StateGood, Found: d.Path + " is on " + d.Type}
	switch d.Type {
	case "":
		c.State, c.Found, c.Advice = StateUnknown, d.Path+" does not exist yet", "create it on a tmpfs or hugetlbfs"
		if d.Path == "" {
			c.Found, c.Advice = "no region was named", ""
		}
	case "tmpfs", "ramfs":
	case "hugetlbfs":
		c.Found += fmt.Sprintf(", %d pages of %d KiB free", e.HugeFree, e.HugeSize>>10)
		if e.HugeFree == 0 {
			c.State, c.Advice = StateWarning, "reserve pages with vm.nr_hugepages, unless the region exists already"
		}
	default:
		c.State, c.Advice = StateBad, "put the region on a tmpfs or hugetlbfs: on a disk it is slow and outlives the rules"
	}
	return c
}

// memlock matters to kernels that charge maps to it (before 5.11).
func (e Environment) memlock() Check {
	c := Check{Name: "memlock", State: StateGood, Found: "unlimited"}
	if e.Memlock == 1<<64-1 {
		return c
	}
	c.Found = fmt.Sprintf("%d KiB", e.Memlock>>10)
	if !e.atLeast(5, 11) && e.Memlock < 512<<20 {
		c.State, c.Advice = StateBad, "this kernel charges maps to RLIMIT_MEMLOCK: raise it (systemd: LimitMEMLOCK=infinity)"
	}
	return c
}

// sysctl wants one value.
func (e Environment) sysctl(name, want string, bad State, otherwise string) Check {
	got, ok := e.Sysctls[name]
	switch {
	case !ok:
		return Check{Name: name, State: StateUnknown, Found: "the kernel has none, or its module is not loaded"}
	case got == want:
		return Check{Name: name, State: StateGood, Found: got}
	}
	c := Check{Name: name, State: bad, Found: got, Advice: "sysctl -w " + name + "=" + want}
	if otherwise != "" {
		c.Advice += ": otherwise " + otherwise
	}
	return c
}

// rpFilter must not be strict: packets for a VM enter where its address does
// not live.
func (e Environment) rpFilter() Check {
	const name = "net.ipv4.conf.all.rp_filter"
	got, ok := e.Sysctls[name]
	switch {
	case !ok:
		return Check{Name: name, State: StateUnknown, Found: "could not be read"}
	case got == "1":
		return Check{Name: name, State: StateBad, Found: "1, strict", Advice: "sysctl -w " + name + "=2: a strict filter drops what a VM sends after its move"}
	}
	return Check{Name: name, State: StateGood, Found: got}
}

// conntrackMax warns of tables that a busy hypervisor fills.
func (e Environment) conntrackMax() Check {
	const name = "net.netfilter.nf_conntrack_max"
	got, ok := e.Sysctls[name]
	n, err := strconv.Atoi(got)
	switch {
	case !ok || err != nil:
		return Check{Name: name, State: StateUnknown, Found: cmp.Or(got, "the module nf_conntrack is not loaded")}
	case n < 65536:
		return Check{Name: name, State: StateWarning, Found: got, Advice: "sysctl -w " + name + "=262144: a full table loses flows"}
	}
	return Check{Name: name, State: StateGood, Found: got}
}

// atLeast compares the kernel's release.
func (e Environment) atLeast(major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(e.Kernel, "%d.%d", &a, &b); n != 2 {
		return true
	}
	return a > major || a == major && b >= minor
}
