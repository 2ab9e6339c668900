package software

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

func (b *batch) putEgress(r hwabstraction.Egress) error {
	d := b.d
	ifindex, err := d.portIndex(r.Port)
	if err != nil {
		return err
	}
	v := newSlot(r, toAddr16(r.Source))
	v.MAC, v.Port, v.Ifindex = r.MAC, portName(r.Port), ifindex
	old := d.sources[r.ID()]
	if done, err := b.replaces(old, &v); done || err != nil {
		return err
	}
	at, err := b.publish(&v, old)
	if err != nil {
		return err
	}
	if err := d.addSource(at, &v); err != nil {
		b.retired = append(b.retired, retired{at, old == 0})
		return err
	}
	b.zones.add(d, r.Source, v.Zone)
	if old != 0 {
		b.dropSource(old, ifindex)
	}
	d.sources[r.ID()] = at
	return nil
}

// addSource lets the address through the guard, and opens the port with the
// first one.
func (d *Device) addSource(at uint32, v *ruleSlot) error {
	key := egressKey{Addr: v.Addr, Ifindex: v.Ifindex}
	if err := d.tables.Sources.Put(key, at); err != nil {
		return fmt.Errorf("%w: sources: %w", hwabstraction.ErrTableFull, err)
	}
	err := d.tables.Ports.Put(v.Ifindex, portValue{MAC: v.MAC})
	if err == nil && d.opened[v.Ifindex] == 0 {
		err = d.openPort(v.port(), v.Ifindex)
	}
	if err != nil {
		d.tables.Sources.Delete(key)
		return err
	}
	d.opened[v.Ifindex]++
	return nil
}

// dropSource takes a slot out of the guard; now is the ifindex of the slot that
// took its place, 0 = none.
func (b *batch) dropSource(at, now uint32) {
	d := b.d
	v := &d.tables.rules.at[at]
	if v.Ifindex != now {
		err := d.tables.Sources.Delete(egressKey{Addr: v.Addr, Ifindex: v.Ifindex})
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			d.log.Error("source not removed", "port", v.port(), "addr", v.Addr.addr(), "err", err)
		}
	}
	b.zones.remove(d, v.Addr.addr())
	if d.opened[v.Ifindex]--; d.opened[v.Ifindex] <= 0 {
		delete(d.opened, v.Ifindex)
		d.closePort(v.port(), v.Ifindex)
	}
	if now != 0 {
		b.replaced(at)
		return
	}
	b.retire(at)
}

func (b *batch) removeEgress(id hwabstraction.RuleID, s hwabstraction.Stamp) error {
	at := b.d.sources[id]
	if at == 0 || !b.d.tables.rules.at[at].owned(s) {
		return nil
	}
	delete(b.d.sources, id)
	b.dropSource(at, 0)
	return nil
}

// gateways are what a VM's port answers for.
func gateways() []*netlink.Addr {
	return []*netlink.Addr{
		{IPNet: ipNet(netip.PrefixFrom(hwabstraction.Gateway4, 32)), Scope: unix.RT_SCOPE_LINK},
		{IPNet: ipNet(netip.PrefixFrom(hwabstraction.Gateway6, 64)), Flags: unix.IFA_F_NODAD, Scope: unix.RT_SCOPE_LINK},
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// openPort makes a port a VM's: gateway MAC and addresses, stack settings, the
// guard.
func (d *Device) openPort(name string, ifindex uint32) error {
	l, err := d.nl.LinkByIndex(int(ifindex))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", hwabstraction.ErrPortGone, name, err)
	}
	if err := d.ns.do(func() error { return preparePort(l.Attrs().Name) }); err != nil {
		return err
	}
	if mac := net.HardwareAddr(d.cfg.GatewayMAC[:]); l.Attrs().HardwareAddr.String() != mac.String() {
		if err := d.nl.LinkSetHardwareAddr(l, mac); err != nil {
			return fmt.Errorf("software: port %s: gateway MAC: %w", name, err)
		}
	}
	for _, a := range gateways() {
		if err := d.nl.AddrReplace(l, a); err != nil {
			return fmt.Errorf("software: port %s: gateway %s: %w", name, a.IP, err)
		}
	}
	if err := d.solicited(ifindex); err != nil {
		return err
	}
	return d.attach(ifindex, d.tables.VmIn, "vm_in")
}

// solicited joins the group in which VMs ask for the gateway. The kernel joins
// it too, but later, by a work queue: a question in between would be lost.
func (d *Device) solicited(ifindex uint32) error {
	b := hwabstraction.Gateway6.As16()
	group := &unix.IPv6Mreq{
		Multiaddr: [16]byte{0xff, 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]}, Interface: ifindex,
	}
	err := unix.SetsockoptIPv6Mreq(d.groups6, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, group)
	if err != nil && !errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("software: port %d: gateway's multicast group: %w", ifindex, err)
	}
	return nil
}

// closePort makes a port nobody's. The program stays on it and lets everything
// pass: attaching takes the kernel some 10 ms, and the VM may come back.
func (d *Device) closePort(name string, ifindex uint32) {
	d.idle[ifindex] = true
	if l, err := d.nl.LinkByIndex(int(ifindex)); err == nil {
		for _, a := range gateways() {
			if err := d.nl.AddrDel(l, a); err != nil {
				d.log.Warn("gateway address not removed", "port", name, "addr", a.IP, "err", err)
			}
		}
	} else {
		d.forgetPorts()
	}
	if err := d.tables.Ports.Delete(ifindex); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		d.log.Error("port not forgotten", "port", name, "err", err)
	}
}
