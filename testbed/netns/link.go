package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

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
// 1500. Each end behaves like a network card: see makeCard. Nothing is ever
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
		if err := e.NS.makeCard(e.Name); err != nil {
			return err
		}
		if err := e.NS.SetUp(e.Name); err != nil {
			return err
		}
	}
	return nil
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

// AddAddr puts addresses on a link that is up, without duplicate address
// detection. When it returns, neighbour discovery for them is answered.
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
	if l.Attrs().Flags&net.FlagLoopback != 0 {
		return nil
	}
	for _, p := range prefixes {
		if err := n.awaitSolicited(link, p.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// awaitSolicited waits until the link is in the address's solicited-node
// multicast group (RFC 4291 section 2.7.1). The kernel joins it from a work
// queue, some time after it has accepted the address; until then solicitations
// are lost, and a neighbour asks again only after a second.
func (n *NS) awaitSolicited(link string, a netip.Addr) error {
	if a.Is4() {
		return nil
	}
	b := a.As16()
	group := fmt.Sprintf("ff0200000000000000000001ff%x", b[13:])
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(200 * time.Microsecond) {
		joined, err := n.ReadFile("/proc/thread-self/net/igmp6")
		if err != nil {
			return fmt.Errorf("netns: %s: multicast groups: %w", n.name, err)
		}
		for line := range strings.Lines(string(joined)) {
			if f := strings.Fields(line); len(f) > 2 && f[1] == link && f[2] == group {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("netns: %s: address %s on %s is not solicitable: is the link up?", n.name, a, link)
		}
	}
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
