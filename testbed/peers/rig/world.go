package rig

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/dpmip/dpmip/testbed/netns"
)

// Addresses of the rig.
var (
	MgmtLocator = netip.MustParseAddr("2001:db8:ff::1")
	TORLocator  = netip.MustParseAddr("2001:db8:ff::2")
	HV6         = netip.MustParseAddr("2001:db8:b::b") // the hypervisor's locators
	HV4         = netip.MustParseAddr("10.2.0.11")
	TOR6        = netip.MustParseAddr("2001:db8:f::1") // on the link to the far router
	TOR4        = netip.MustParseAddr("10.254.0.1")
	Far6        = netip.MustParseAddr("2001:db8:f::2")
	Far4        = netip.MustParseAddr("10.254.0.2")
)

// Range6 and Range4 are where the VMs' addresses are from.
var (
	Range6 = netip.MustParsePrefix("2001:db8:a::/48")
	Range4 = netip.MustParsePrefix("10.9.0.0/16")
)

// World is the rig's namespaces and links. Close it.
type World struct {
	Set                *netns.Set
	TOR, Far, HV, Mgmt *netns.NS
}

// link is one cable, with the addresses of its ends.
type link struct {
	name  string
	a, b  string
	aAddr []string
	bAddr []string
}

var links = []link{
	{"m0", "mgmt", "tor", []string{"2001:db8:ff::1/64"}, []string{"2001:db8:ff::2/64"}},
	{"h0", "hv", "tor", []string{"2001:db8:b::b/64", "10.2.0.11/24"}, []string{"2001:db8:b::1/64", "10.2.0.1/24"}},
	{"f0", "tor", "far", []string{"2001:db8:f::1/64", "10.254.0.1/24"}, []string{"2001:db8:f::2/64", "10.254.0.2/24"}},
}

// loopbacks are the routers' identities.
var loopbacks = map[string]string{"tor": "10.0.0.1/32", "far": "10.0.0.2/32"}

// Open builds the rig; prefix names it for netns.Sweep.
func Open(prefix string) (*World, error) {
	set, err := netns.Open("", prefix)
	if err != nil {
		return nil, err
	}
	w := &World{Set: set}
	if err := w.build(); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	return w, nil
}

// Close ends every process and removes everything.
func (w *World) Close() error { return w.Set.Close() }

func (w *World) build() error {
	for name, ns := range map[string]**netns.NS{"tor": &w.TOR, "far": &w.Far, "hv": &w.HV, "mgmt": &w.Mgmt} {
		n, err := w.Set.Create(name)
		if err != nil {
			return err
		}
		*ns = n
		err = n.Sysctls("net.ipv6.conf.all.forwarding=1", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv6.route.max_size=1000000")
		if err != nil {
			return err
		}
	}
	for _, l := range links {
		if err := w.connect(l); err != nil {
			return err
		}
	}
	for name, p := range loopbacks {
		if err := w.Set.NS(name).AddAddr("lo", netip.MustParsePrefix(p)); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) connect(l link) error {
	a, b := w.Set.NS(l.a), w.Set.NS(l.b)
	if err := netns.Veth(netns.End{NS: a, Name: l.name}, netns.End{NS: b, Name: l.name}, 0); err != nil {
		return err
	}
	for ns, texts := range map[*netns.NS][]string{a: l.aAddr, b: l.bAddr} {
		for _, s := range texts {
			if err := ns.AddAddr(l.name, netip.MustParsePrefix(s)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Dir makes a folder of the rig for a node's files.
func (w *World) Dir(name string) (string, error) {
	dir := filepath.Join(w.Set.Dir(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("rig: %w", err)
	}
	return dir, nil
}

// VM6 and VM4 are the addresses of the i-th VM, from 0.
func VM6(i int) netip.Addr {
	b := Range6.Addr().As16()
	b[12], b[13], b[14], b[15] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
	b[7] = 1
	return netip.AddrFrom16(b)
}

// VM4 is the IPv4 address of the i-th VM, up to 65535.
func VM4(i int) netip.Addr {
	b := Range4.Addr().As4()
	b[2], b[3] = byte(i>>8), byte(i)
	return netip.AddrFrom4(b)
}
