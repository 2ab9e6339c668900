package detect

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	nlroute "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// ProbeConfig says where Probe looks.
type ProbeConfig struct {
	NetNS  int      // descriptor of the network namespace; 0 or less = the process's own
	BPFDir string   // where programs would be pinned; "" = not looked at
	Region string   // path of the region's file; "" = not looked at
	Fabric []string // ports towards the fabric
	SkipHW bool     // filters shall stay in the kernel
	// NoTypes leaves the kernel's types alone: Choose does not need them, and
	// reading them takes longer than all the rest.
	NoTypes bool
}

// Probe looks at the machine. What it cannot find out is Unknown, with the
// reason; it changes nothing. Kernel features are tried out once a process, in
// namespaces of its own.
func Probe(c ProbeConfig) Environment {
	e := Environment{
		Features: map[string]Finding{}, Capabilities: capabilities(), Sysctls: map[string]string{},
		BPFDir: mountOf(c.BPFDir), Memlock: memlock(), Fabric: c.Fabric, SkipHW: c.SkipHW, Clock: readClock(),
	}
	if c.Region != "" {
		e.RegionDir = mountOf(filepath.Dir(c.Region))
	}
	maps.Copy(e.Features, kernelFeatures())
	if !c.NoTypes {
		maps.Copy(e.Features, typeFeatures())
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		e.Kernel, e.Machine = unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Machine[:])
	}
	e.HugeFree, e.HugeSize = hugepages()
	within(c.NetNS, func() {
		e.readSysctls()
		e.readPorts()
	})
	if _, ok := e.Sysctls["net.netfilter.nf_conntrack_max"]; ok {
		e.Features[Conntrack] = Finding{hwabstraction.Yes, "its sysctls are there"}
	} else {
		e.Features[Conntrack] = Finding{hwabstraction.No, "no sysctl net.netfilter.nf_conntrack_max"}
	}
	return e
}

// Kernel features are asked for once: nothing of them changes while a process
// lives, but for modules that the probes themselves load.
var (
	kernelFeatures = sync.OnceValue(probeKernel)
	typeFeatures   = sync.OnceValue(probeTypes)
)

// capabilityBits are the numbers of capability.h that matter.
var capabilityBits = map[string]uint{
	"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_IPC_LOCK": 14, "CAP_SYS_ADMIN": 21, "CAP_BPF": 39,
}

func capabilities() map[string]Finding {
	out := map[string]Finding{}
	eff, err := effective()
	for name, bit := range capabilityBits {
		switch {
		case err != nil:
			out[name] = Finding{hwabstraction.Unknown, err.Error()}
		case eff&(1<<bit) != 0:
			out[name] = Finding{hwabstraction.Yes, ""}
		default:
			out[name] = Finding{hwabstraction.No, fmt.Sprintf("the process (user %d) does not have it", os.Geteuid())}
		}
	}
	return out
}

// effective reads CapEff from proc(5) status.
func effective() (uint64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		}
	}
	return 0, errors.New("/proc/self/status has no CapEff")
}

// fsTypes are magic numbers of statfs(2).
var fsTypes = map[int64]string{
	unix.BPF_FS_MAGIC: "bpf", unix.TMPFS_MAGIC: "tmpfs", unix.HUGETLBFS_MAGIC: "hugetlbfs", unix.RAMFS_MAGIC: "ramfs",
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
}

func mountOf(path string) Mount {
	m := Mount{Path: path}
	var st unix.Statfs_t
	if path == "" || unix.Statfs(path, &st) != nil {
		return m
	}
	if m.Type = fsTypes[int64(st.Type)]; m.Type == "" {
		m.Type = fmt.Sprintf("%#x", st.Type)
	}
	return m
}

func memlock() uint64 {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r) != nil {
		return 0
	}
	return r.Cur
}

// hugepages reads the default size's figures from /proc/meminfo.
func hugepages() (free int, size int64) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, v, _ := strings.Cut(lines.Text(), ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
		switch name {
		case "HugePages_Free":
			free = n
		case "Hugepagesize":
			size = int64(n) << 10
		}
	}
	return free, size
}

// within runs f on a thread inside a namespace; the thread ends with it.
func within(ns int, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if ns > 0 {
			runtime.LockOSThread()
			if netns.Set(netns.NsHandle(ns)) != nil {
				return
			}
		}
		f()
	}()
	<-done
}

// sysctls are those that Diagnose looks at.
var sysctls = []string{
	"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.rp_filter",
	"net.ipv4.conf.all.arp_accept", "net.ipv6.conf.all.accept_untracked_na",
	"net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_tcp_loose", "net.netfilter.nf_conntrack_tcp_be_liberal",
}

func (e *Environment) readSysctls() {
	for _, name := range sysctls {
		b, err := fs.ReadFile(os.DirFS("/proc/sys"), strings.ReplaceAll(name, ".", "/"))
		if err == nil {
			e.Sysctls[name] = strings.TrimSpace(string(b))
		}
	}
}

// sysctlOf reads a value by its path, as seen from the thread's namespace.
func sysctlOf(path string) string {
	b, err := os.ReadFile("/proc/sys/" + path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// readPorts asks rtnetlink, ethtool and devlink for what there is.
func (e *Environment) readPorts() {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_GENERIC)
	if err != nil {
		return
	}
	defer h.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	links, _ := h.LinkList()
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range links {
		d := Netdev{Name: l.Attrs().Name, MTU: l.Attrs().MTU, Index: int32(l.Attrs().Index)}
		if kind := l.Type(); kind != "device" {
			d.Kind = kind
		}
		if info, err := unix.IoctlGetEthtoolDrvinfo(fd, d.Name); err == nil {
			d.Driver = unix.ByteSliceToString(info.Driver[:])
			d.Bus = unix.ByteSliceToString(info.Bus_info[:])
		}
		if m, ok := names[l.Attrs().MasterIndex]; ok {
			d.Master = m
		}
		d.RPFilter = sysctlOf("net/ipv4/conf/" + d.Name + "/rp_filter")
		e.Netdevs = append(e.Netdevs, d)
	}
	e.readSwitches(h)
	e.readEswitches(h)
}

// readSwitches adds where ports sit on e-switches, and what these can do. What
// the kernel does not tell stays empty.
func (e *Environment) readSwitches(h *netlink.Handle) {
	at := map[int32]*Netdev{}
	for i := range e.Netdevs {
		at[e.Netdevs[i].Index] = &e.Netdevs[i]
	}
	if conn, err := nlroute.Dial(unix.NETLINK_ROUTE, nil); err == nil {
		links, _ := readLinks(conn, 0)
		conn.Close()
		for _, l := range links {
			if d := at[l.Index]; d != nil {
				d.SwitchID, d.PortName = l.SwitchID, l.PortName
			}
		}
	}
	ports, _ := askGeneric(h, "devlink", devlinkPortGet, nlroute.Dump, nil)
	for _, attrs := range ports {
		p, err := parseDevlinkPort(attrs)
		if d := at[p.Index]; err == nil && d != nil {
			d.State = p.State
			if d.PortName == "" && p.Function.Kind != NoFunction {
				d.PortName = p.Function.String()
			}
		}
	}
	e.readOffload(h)
}

// readOffload asks for hw-tc-offload where it matters: at the fabric and on
// e-switches.
func (e *Environment) readOffload(h *netlink.Handle) {
	fabric := map[string]bool{}
	for _, name := range e.Fabric {
		if d, ok := e.netdev(name); ok {
			fabric[d.Name] = true
		}
	}
	for i := range e.Netdevs {
		d := &e.Netdevs[i]
		if d.SwitchID == "" && !fabric[d.Name] {
			continue
		}
		answers, _ := askGeneric(h, "ethtool", ethtoolFeaturesGet, nlroute.Acknowledge, featuresRequest(d.Index))
		for _, attrs := range answers {
			if offload, err := parseFeatures(attrs); err == nil {
				d.Offload = offload
			}
		}
	}
}

// readEswitches asks devlink for modes.
func (e *Environment) readEswitches(h *netlink.Handle) {
	// A kernel without devlink has no e-switch to tell.
	e.Eswitches, _ = eswitchesNow(h)
}
