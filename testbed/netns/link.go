package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// End is one end of a veth pair. A nil MAC lets the kernel choose.
type End struct {
	NS   *NS
	Name string
	MAC  net.HardwareAddr
}

// Veth makes a pair with its ends in two namespaces, both up. A zero mtu means
// 1500. Like a real link it keeps the order of each flow: its receive side is
// steered by flow (RPS), for a veth left to itself processes a frame on the CPU
// that sent it and so reorders whenever a sender changes CPU. Nothing is ever
// created in the host's namespace.
func Veth(a, b End, mtu int) error {
	if mtu == 0 {
		mtu = 1500
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = a.Name, a.MAC, mtu
	attrs.Flags = net.FlagUp
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: b.Name, PeerHardwareAddr: b.MAC,
		PeerNamespace: netlink.NsFd(b.NS.fd.Fd()), PeerMTU: uint32(mtu),
	}
	if err := a.NS.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("netns: veth %s:%s - %s:%s: %w", a.NS.name, a.Name, b.NS.name, b.Name, err)
	}
	for _, e := range []End{b, a} {
		if err := e.NS.keepOrder(e.Name); err != nil {
			return err
		}
		if err := e.NS.SetUp(e.Name); err != nil {
			return err
		}
	}
	return nil
}

// keepOrder steers a link's received frames to a CPU chosen by flow.
func (n *NS) keepOrder(link string) error {
	sys, err := n.sysfs()
	if err != nil {
		return err
	}
	path := filepath.Join(sys, "class/net", link, "queues/rx-0/rps_cpus")
	if err := os.WriteFile(path, []byte(cpuMask(runtime.NumCPU())), 0o644); err != nil {
		return fmt.Errorf("netns: %s: keep order on %s: %w", n.name, link, err)
	}
	return nil
}

// cpuMask is the kernel's notation for the first n CPUs.
func cpuMask(n int) string {
	var words []string
	for ; n > 32; n -= 32 {
		words = append(words, "ffffffff")
	}
	words = append([]string{fmt.Sprintf("%x", uint32(1<<n-1))}, words...)
	return strings.Join(words, ",")
}

// Link finds a link by name.
func (n *NS) Link(name string) (netlink.Link, error) {
	l, err := n.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("netns: %s: link %s: %w", n.name, name, err)
	}
	return l, nil
}

// Index is the interface index of a link.
func (n *NS) Index(name string) (int, error) {
	l, err := n.Link(name)
	if err != nil {
		return 0, err
	}
	return l.Attrs().Index, nil
}

// SetUp brings a link up.
func (n *NS) SetUp(name string) error { return n.setState(name, n.nl.LinkSetUp) }

// SetDown takes a link down.
func (n *NS) SetDown(name string) error { return n.setState(name, n.nl.LinkSetDown) }

func (n *NS) setState(name string, set func(netlink.Link) error) error {
	l, err := n.Link(name)
	if err != nil {
		return err
	}
	if err := set(l); err != nil {
		return fmt.Errorf("netns: %s: link %s: %w", n.name, name, err)
	}
	return nil
}

// AddAddr puts addresses on a link, without duplicate address detection.
func (n *NS) AddAddr(link string, prefixes ...netip.Prefix) error {
	l, err := n.Link(link)
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		a := &netlink.Addr{IPNet: IPNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := n.nl.AddrReplace(l, a); err != nil {
			return fmt.Errorf("netns: %s: address %s on %s: %w", n.name, p, link, err)
		}
	}
	return nil
}

// DelAddr removes an address from a link.
func (n *NS) DelAddr(link string, p netip.Prefix) error {
	l, err := n.Link(link)
	if err != nil {
		return err
	}
	if err := n.nl.AddrDel(l, &netlink.Addr{IPNet: IPNet(p)}); err != nil {
		return fmt.Errorf("netns: %s: address %s on %s: %w", n.name, p, link, err)
	}
	return nil
}

// SetNeighbour makes a permanent neighbour entry.
func (n *NS) SetNeighbour(link string, a netip.Addr, mac net.HardwareAddr) error {
	index, err := n.Index(link)
	if err != nil {
		return err
	}
	err = n.nl.NeighSet(&netlink.Neigh{
		LinkIndex: index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("netns: %s: neighbour %s on %s: %w", n.name, a, link, err)
	}
	return nil
}

// FlushNeighbours forgets every learnt neighbour of the namespace.
func (n *NS) FlushNeighbours() error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		known, err := n.nl.NeighList(0, family)
		if err != nil {
			return fmt.Errorf("netns: %s: neighbours: %w", n.name, err)
		}
		for _, k := range known {
			if k.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 {
				continue
			}
			if err := n.nl.NeighDel(&k); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("netns: %s: forget neighbour %s: %w", n.name, k.IP, err)
			}
		}
	}
	return nil
}

// IPNet converts a prefix to the form the netlink library takes, host bits kept.
func IPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
