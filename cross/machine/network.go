package machine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SetNetwork brings ports up with their addresses, and adds routes. It goes on
// after a failure and returns all errors; what is there already is fine.
func SetNetwork(h *netlink.Handle, links []Link, routes []Route) error {
	errs := []error{setLink(h, Link{Name: "lo"})}
	for _, l := range links {
		errs = append(errs, setLink(h, l))
	}
	for _, r := range routes {
		errs = append(errs, addRoute(h, r))
	}
	return errors.Join(errs...)
}

func setLink(h *netlink.Handle, l Link) error {
	if l.Peer != "" {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: l.Name}, PeerName: l.Peer}
		if err := h.LinkAdd(pair); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("machine: link %s: %w", l.Name, err)
		}
		if err := setLink(h, Link{Name: l.Peer}); err != nil {
			return err
		}
	}
	link, err := h.LinkByName(l.Name)
	if err != nil {
		return fmt.Errorf("machine: link %s: %w", l.Name, err)
	}
	if l.MTU != 0 {
		if err := h.LinkSetMTU(link, l.MTU); err != nil {
			return fmt.Errorf("machine: link %s: mtu %d: %w", l.Name, l.MTU, err)
		}
	}
	for _, p := range l.Addresses {
		// No duplicate address detection: the agent binds to its locators at once.
		a := &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}
		if err := h.AddrReplace(link, a); err != nil {
			return fmt.Errorf("machine: link %s: address %s: %w", l.Name, p, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("machine: link %s: %w", l.Name, err)
	}
	return nil
}

func addRoute(h *netlink.Handle, r Route) error {
	route := &netlink.Route{}
	if r.To.IsValid() {
		route.Dst = ipNet(r.To.Prefix)
	}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
	}
	if r.Device != "" {
		link, err := h.LinkByName(r.Device)
		if err != nil {
			return fmt.Errorf("machine: route to %s: %w", r, err)
		}
		route.LinkIndex = link.Attrs().Index
	}
	if err := h.RouteReplace(route); err != nil {
		return fmt.Errorf("machine: route to %s: %w", r, err)
	}
	return nil
}

func (r Route) String() string {
	if !r.To.IsValid() {
		return "default via " + r.Via.String()
	}
	return r.To.String()
}

// ipNet keeps the host's part of the address.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
