package ways

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	mdl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Kernel asks the kernel of one network namespace. Its methods may be called
// concurrently.
type Kernel struct {
	nl      *netlink.Handle
	resolve func(name string) (int32, error)
	events  *mdl.Conn
	changed chan struct{}
	ended   chan struct{}
}

// Open opens sockets in a network namespace: that of the file descriptor ns, or
// the calling thread's where it is 0 or less. Ports are found by resolve, which
// gives an interface index; nil takes the interface's name.
func Open(ns int, resolve func(name string) (int32, error)) (*Kernel, error) {
	at := netns.None()
	if ns > 0 {
		at = netns.NsHandle(ns)
	}
	nl, err := netlink.NewHandleAt(at, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("ways: %w", err)
	}
	events, err := mdl.Dial(unix.NETLINK_ROUTE, &mdl.Config{NetNS: max(ns, 0)})
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("ways: events: %w", err)
	}
	k := &Kernel{nl: nl, resolve: resolve, events: events, changed: make(chan struct{}, 1), ended: make(chan struct{})}
	for _, group := range []uint32{
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	} {
		if err := events.JoinGroup(group); err != nil {
			events.Close()
			nl.Close()
			return nil, fmt.Errorf("ways: events of group %d: %w", group, err)
		}
	}
	go k.listen()
	return k, nil
}

// Changed has a value when a link, an address, a route, a rule or a neighbour has
// changed since the last one was taken.
func (k *Kernel) Changed() <-chan struct{} { return k.changed }

// listen passes on that something has changed; what it was, is asked for anew.
func (k *Kernel) listen() {
	defer close(k.ended)
	for {
		_, err := k.events.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // too many to be told is a change too
			return
		}
		select {
		case k.changed <- struct{}{}:
		default:
		}
	}
}

// Close closes the sockets.
func (k *Kernel) Close() error {
	err := k.events.Close()
	<-k.ended
	k.nl.Close()
	return err
}

// Port finds a port by its name; ErrPortGone where there is none.
func (k *Kernel) Port(name string) (Port, error) {
	l, err := k.link(name)
	if err != nil {
		return Port{}, fmt.Errorf("%w: %s: %w", hwabstraction.ErrPortGone, name, err)
	}
	a := l.Attrs()
	p := Port{Index: int32(a.Index), MTU: a.MTU}
	if len(a.HardwareAddr) != 6 {
		return Port{}, fmt.Errorf("%w: %s is no Ethernet port", hwabstraction.ErrNotSupported, name)
	}
	copy(p.MAC[:], a.HardwareAddr)
	return p, nil
}

func (k *Kernel) link(name string) (netlink.Link, error) {
	if k.resolve == nil {
		return k.nl.LinkByName(name)
	}
	index, err := k.resolve(name)
	if err != nil {
		return nil, err
	}
	return k.nl.LinkByIndex(int(index))
}

// Hop finds the next hop of packets to an address, as the kernel would route
// them: ErrUnclear unless it is one whose MAC is known.
func (k *Kernel) Hop(to netip.Addr) (Hop, error) {
	routes, err := k.nl.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil {
		return Hop{}, fmt.Errorf("%w to %s: %w", ErrUnclear, to, err)
	}
	if len(routes) != 1 {
		return Hop{}, fmt.Errorf("%w to %s: %d routes", ErrUnclear, to, len(routes))
	}
	return k.hop(&routes[0], to)
}

// hop resolves a route; to is the neighbour where the route names none.
func (k *Kernel) hop(r *netlink.Route, to netip.Addr) (Hop, error) {
	if r.Type != unix.RTN_UNICAST || len(r.MultiPath) > 0 || r.Encap != nil || r.MPLSDst != nil || r.LinkIndex == 0 {
		return Hop{}, fmt.Errorf("%w: route %s", ErrUnclear, r)
	}
	via := gateway(r)
	if !via.IsValid() {
		via = to
	}
	l, err := k.nl.LinkByIndex(r.LinkIndex)
	if err != nil {
		return Hop{}, fmt.Errorf("%w: route %s: %w", ErrUnclear, r, err)
	}
	h := Hop{Port: int32(r.LinkIndex), MTU: l.Attrs().MTU}
	if r.MTU > 0 {
		h.MTU = min(h.MTU, r.MTU)
	}
	if len(l.Attrs().HardwareAddr) != 6 || l.Attrs().Flags&net.FlagUp == 0 {
		return Hop{}, fmt.Errorf("%w: port %s is down, or no Ethernet port", ErrUnclear, l.Attrs().Name)
	}
	copy(h.Source[:], l.Attrs().HardwareAddr)
	h.Destination, err = k.neighbour(r.LinkIndex, via)
	return h, err
}

// gateway is the router that a route names; invalid where it is on the link.
func gateway(r *netlink.Route) netip.Addr {
	ip := r.Gw
	if v, ok := r.Via.(*netlink.Via); ok {
		ip = v.Addr
	}
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// States of neighbours whose MAC is used.
const known = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE

// neighbour finds the MAC of an address on a link. One that the kernel does not
// know, or has not confirmed lately, it is asked to find: filters send there
// without its noticing.
func (k *Kernel) neighbour(link int, a netip.Addr) (mac [6]byte, err error) {
	family := unix.AF_INET6
	if a.Is4() {
		family = unix.AF_INET
	}
	all, err := k.nl.NeighList(link, family)
	if err != nil {
		return mac, fmt.Errorf("ways: neighbours of port %d: %w", link, err)
	}
	state := unix.NUD_NONE
	for _, n := range all {
		if b, ok := netip.AddrFromSlice(n.IP); ok && b.Unmap() == a && n.State&known != 0 && len(n.HardwareAddr) == 6 {
			state = n.State
			copy(mac[:], n.HardwareAddr)
		}
	}
	if state&(unix.NUD_PERMANENT|unix.NUD_NOARP|unix.NUD_REACHABLE|unix.NUD_DELAY|unix.NUD_PROBE) == 0 {
		// The answer comes as a change; a refusal changes nothing.
		_ = k.nl.NeighSet(&netlink.Neigh{LinkIndex: link, Family: family, IP: a.AsSlice(), Flags: netlink.NTF_USE})
	}
	if state == unix.NUD_NONE {
		return mac, fmt.Errorf("%w: the MAC of %s on port %d is not known", ErrUnclear, a, link)
	}
	return mac, nil
}
