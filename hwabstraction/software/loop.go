package software

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// The loop port: what the stack shall answer or fragment is routed into
// loopOut, by a route with the path's MTU; fragments come back at loopBack, and
// so does what a hold gives back. Both ends have one MAC, so that the stack
// accepts what no rule claims.
const (
	loopOut  = "dpmip-out"
	loopBack = "dpmip-back"
	loopMTU  = 65535
)

// Marks, as in bpf/forward.h.
const (
	markMask    = 0xffff0000
	markDeliver = 0x00010000
	markLarge   = 0x00100000
	markReject  = 0x00200000
	maxMTUs     = 16
)

func (d *Device) mark(what uint32) uint32 { return uint32(d.cfg.Mark)<<24 | what }

// openLoop makes the loop port and the policy rules, and adopts the MTUs that
// have a table already.
func (d *Device) openLoop() error {
	if err := d.makeLoop(); err != nil {
		return err
	}
	var mtu, mark uint32
	for it := d.tables.Mtus.Iterate(); it.Next(&mtu, &mark); {
		d.mtus[int(mtu)] = mark
	}
	if _, err := d.policyRules(); err != nil {
		return err
	}
	return d.ensureFabricMTUs()
}

func (d *Device) makeLoop() error {
	if _, err := d.nl.LinkByName(loopOut); err != nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = loopOut, loopMTU
		if err := d.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: loopBack, PeerMTU: loopMTU}); err != nil {
			return fmt.Errorf("software: loop port: %w", err)
		}
	}
	if err := d.ns.do(prepareLoop); err != nil {
		return err
	}
	mac := net.HardwareAddr{0x02, 0x00, 0x5e, 0x00, 0x00, 0x02}
	for _, name := range []string{loopOut, loopBack} {
		l, err := d.nl.LinkByName(name)
		if err == nil {
			err = errors.Join(d.nl.LinkSetHardwareAddr(l, mac), d.nl.LinkSetARPOff(l), d.nl.LinkSetMTU(l, loopMTU), d.nl.LinkSetUp(l))
		}
		if err != nil {
			return fmt.Errorf("software: loop port %s: %w", name, err)
		}
	}
	return nil
}

// fibFlags lets redirects look their way up in the main table directly, unless
// somebody else has policy rules in this namespace now.
func (d *Device) fibFlags() (uint32, error) {
	const direct = 1 // BPF_FIB_LOOKUP_DIRECT
	rules, err := d.nl.RuleList(netlink.FAMILY_ALL)
	if err != nil {
		return 0, fmt.Errorf("software: policy rules: %w", err)
	}
	for _, r := range rules {
		marked := r.Mark&markMask>>24 == uint32(d.cfg.Mark) || r.IifName == "lo"
		ours := marked && r.Table >= tableDeliver && r.Table < tableLarge+maxMTUs
		if !ours && r.Table != unix.RT_TABLE_LOCAL && r.Table != unix.RT_TABLE_MAIN && r.Table != unix.RT_TABLE_DEFAULT {
			return 0, nil
		}
	}
	return direct, nil
}

// ensureMTU gives an MTU a mark and a table of its own, so that the stack
// answers what is larger than it.
func (d *Device) ensureMTU(mtu int) error {
	if _, ok := d.mtus[mtu]; ok {
		return nil
	}
	n := uint32(len(d.mtus))
	if n >= maxMTUs {
		return fmt.Errorf("%w: more than %d path MTUs", hwabstraction.ErrTableFull, maxMTUs)
	}
	out, err := d.interfaceIndex(loopOut)
	if err != nil {
		return err
	}
	mark := markLarge + n<<16
	if _, err := d.policyRule(d.mark(mark), tableLarge+n); err != nil {
		return err
	}
	for _, p := range defaults() {
		r := route{prefix: p, table: tableLarge + n, oif: out, mtu: uint32(mtu)}
		if err := d.rt.one(routeMessage(unix.RTM_NEWROUTE, r)); err != nil {
			return fmt.Errorf("software: route for packets larger than %d: %w", mtu, err)
		}
	}
	if err := d.tables.Mtus.Put(uint32(mtu), mark); err != nil {
		return fmt.Errorf("software: mtus: %w", err)
	}
	d.mtus[mtu] = mark
	return nil
}

// ensureFabricMTUs covers the MTUs that routes have by themselves. The first
// one also serves packets whose hop limit is used up, and rejected ones.
func (d *Device) ensureFabricMTUs() error {
	for _, l := range d.fabric {
		if err := d.ensureMTU(l.MTU); err != nil {
			return err
		}
	}
	if len(d.mtus) == 0 {
		return d.ensureMTU(1500)
	}
	return nil
}

// sysctl writes one setting of the calling thread's namespace.
func sysctl(key, value string) error {
	path := "/proc/sys/" + key
	if old, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(old)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("software: sysctl %s=%s: %w", key, value, err)
	}
	return nil
}

func sysctls(kv ...string) error {
	for i := 0; i < len(kv); i += 2 {
		if err := sysctl(kv[i], kv[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// prepareStack makes the namespace a router. Rejections must not be rate
// limited to one a second.
func (d *Device) prepareStack() error {
	kv := []string{
		"net/ipv4/ip_forward", "1",
		"net/ipv6/conf/all/forwarding", "1",
		"net/ipv4/conf/all/rp_filter", "0",
		"net/ipv4/conf/all/send_redirects", "0",
		"net/ipv4/icmp_ratelimit", "1",
		"net/ipv6/icmp/ratelimit", "1",
	}
	for _, l := range d.fabric {
		p := l.Name
		kv = append(kv,
			filepath.Join("net/ipv4/conf", p, "rp_filter"), "0",
			filepath.Join("net/ipv4/conf", p, "forwarding"), "1",
			filepath.Join("net/ipv4/conf", p, "send_redirects"), "0",
			filepath.Join("net/ipv6/conf", p, "forwarding"), "1")
	}
	return sysctls(kv...)
}

func prepareLoop() error {
	for _, p := range []string{loopOut, loopBack} {
		err := sysctls(
			"net/ipv6/conf/"+p+"/addr_gen_mode", "1",
			"net/ipv6/conf/"+p+"/accept_ra", "0",
			"net/ipv4/conf/"+p+"/rp_filter", "0")
		if err != nil {
			return err
		}
	}
	return nil
}

func preparePort(p string) error {
	return sysctls(
		"net/ipv4/conf/"+p+"/rp_filter", "0",
		"net/ipv4/conf/"+p+"/proxy_arp", "0",
		"net/ipv4/conf/"+p+"/send_redirects", "0",
		"net/ipv4/conf/"+p+"/forwarding", "1",
		"net/ipv6/conf/"+p+"/accept_ra", "0",
		"net/ipv6/conf/"+p+"/proxy_ndp", "0",
		"net/ipv6/conf/"+p+"/forwarding", "1")
}

// prepareConntrack lets conntrack pick up connections in their middle.
func prepareConntrack() error {
	return sysctls(
		"net/netfilter/nf_conntrack_tcp_be_liberal", "1",
		"net/netfilter/nf_conntrack_tcp_loose", "1")
}
