package frr_test

import (
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/peers/rig"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// conversation is numbered traffic between the far router and a VM at the
// hypervisor, both ways.
type conversation struct {
	f      *fabric
	stream *traffic.Stream
	tcp    *traffic.TCPGroup
	drops  uint64 // of the machine, when it began
}

// talk puts the i-th VM at the hypervisor, gives it a host route, and starts
// traffic as soon as the far router has it.
func (f *fabric) talk(i, pps int) *conversation {
	f.t.Helper()
	a, peer, gateway, everywhere := f.vm(i), rig.Far6, "2001:db8:b::1", "::/0"
	if a.Is4() {
		peer, gateway, everywhere = rig.Far4, "10.2.0.1", "0.0.0.0/0"
	}
	f.must(f.HV.AddAddr("lo", netip.PrefixFrom(a, a.BitLen())))
	index, err := f.HV.Index("h0")
	f.must(err)
	f.must(f.HV.Netlink().RouteReplace(&netlink.Route{Dst: netns.IPNet(netip.MustParsePrefix(everywhere)), LinkIndex: index, Gw: netip.MustParseAddr(gateway).AsSlice()}))
	f.set(2, hour, a)
	f.await(true, a)

	c := &conversation{f: f}
	c.drops, err = traffic.MachineDrops()
	f.must(err)
	far, vm := f.endpoint(f.Far, peer, 10000), f.endpoint(f.HV, a, 10000)
	c.stream, err = traffic.OpenStream(traffic.StreamConfig{ID: uint32(i + 1), PPS: pps, A: far, B: vm})
	f.must(err)
	f.t.Cleanup(c.stop)
	c.stream.Start()
	c.tcp, err = traffic.OpenTCP(f.ctx, traffic.TCPConfig{Connections: 4, Client: far.At(0), Server: vm.At(20000)})
	f.must(err)
	c.more()
	return c
}

func (f *fabric) endpoint(ns *netns.NS, a netip.Addr, port uint16) traffic.Endpoint {
	return traffic.Endpoint{NS: ns, Addr: netip.AddrPortFrom(a, port)}
}

// more waits until traffic has come through both ways from now on.
func (c *conversation) more() {
	c.f.t.Helper()
	a, b := c.stream.Arrived()
	c.f.must(c.stream.WaitFor(c.f.ctx, max(a, b)+50))
}

func (c *conversation) stop() {
	c.stream.Stop()
	if c.tcp != nil {
		c.tcp.Stop(3 * time.Second)
	}
}

// whole ends the traffic: everything sent must have arrived once and in order,
// and every connection lives.
func (c *conversation) whole() {
	t := c.f.t
	t.Helper()
	c.more()
	c.stop()
	r := c.stream.Whole()
	for to, x := range map[string]traffic.Flow{"the VM": r.AToB, "the far router": r.BToA} {
		if x.Lost+x.Duplicated+x.Reordered+x.Refused != 0 {
			t.Errorf("to %s: of %d sent %d lost, %d duplicated, %d reordered, %d answered by an ICMP error; longest gap %v",
				to, x.Sent, x.Lost, x.Duplicated, x.Reordered, x.Refused, x.Blackout)
		}
	}
	g := c.tcp.Report(traffic.TCPMark{}, c.tcp.Mark())
	if g.Survived != g.Connections || g.Timeouts != 0 {
		t.Errorf("%d of %d connections live, %d time-outs, longest stall %v: %v", g.Survived, g.Connections, g.Timeouts, g.MaxStall, g.Errors)
	}
	t.Logf("%s: %d datagrams sent, %d arrived, longest gap %v; %d of %d connections alive", c.f.protocol, r.Total().Sent, r.Total().Received, r.Total().Blackout, g.Survived, g.Connections)
	if drops, err := traffic.MachineDrops(); t.Failed() && err == nil && drops != c.drops {
		t.Logf("the machine itself dropped %d frames meanwhile: run this again", drops-c.drops)
	}
}
