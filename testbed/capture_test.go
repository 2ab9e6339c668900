package testbed

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/capture"
	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/topology"
)

// rawSend sends one packet of any protocol from the namespace.
func rawSend(t *testing.T, ns *netns.NS, protocol int, to netip.Addr, payload []byte) {
	t.Helper()
	must(t, ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, payload, 0, &unix.SockaddrInet6{Addr: to.As16()})
	}))
}

// TestCaptureTellsWhatPassed captures a fabric link while traffic, a Mobility
// Header and at last a GRE packet pass, and asks the questions of the matrix.
func TestCaptureTellsWhatPassed(t *testing.T) {
	l := up(t)
	c, err := capture.Start(l.Node(topology.Spine).NS, topology.ToRA, capture.Options{Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { _, _ = c.Stop() })
	mh, err := hex.DecodeString("3b0a05002e4b00018200038408130800046ba7b8109dad11d180b400c04fd430c80101001612008020010db8000a010000000000000000421702000118020001190800005254001234561b08000053724e00800001020000")
	must(t, err)
	rawSend(t, l.Node(topology.HVA).NS, capture.ProtocolMobility, l.Plan.Mgmt.V6, mh)
	ld := start(t, l, 0)
	r, _ := ld.stop()
	rawSend(t, l.Node(topology.CN).NS, 47, l.Plan.Hypervisors[0].Locator.V6, make([]byte, 8))
	frames, err := c.Stop()
	must(t, err)
	t.Logf("%d frames in %s", frames, c.Path)

	vm, _ := l.Plan.VM("vm1")
	down := capture.All(capture.From(l.Plan.CN.Both()...), capture.DstPort(7000))
	counts, err := c.Destinations(down)
	must(t, err)
	if got := uint64(counts[vm.Addr.V6] + counts[vm.Addr.V4]); got != r.AToB.Sent || len(counts) != 2 {
		t.Errorf("%d frames to vm1 of %d sent, destinations %v", got, r.AToB.Sent, counts)
	}
	if f, err := c.StrayDestinations(down, vm.Addr.Both()...); err != nil || f.Checked == 0 || f.Broken != 0 {
		t.Errorf("stray destinations: %+v (%v), want none of many", f, err)
	}
	if f, err := c.StrayDestinations(down, vm.Addr.V6); err != nil || f.Broken != counts[vm.Addr.V4] {
		t.Errorf("stray destinations: %+v (%v), want the %d IPv4 ones", f, err, counts[vm.Addr.V4])
	}
	if f, err := c.AddedHeaders(); err != nil || f.Broken != 1 || f.Checked < int(frames) {
		t.Errorf("added headers: %+v (%v), want the one GRE packet", f, err)
	}
	var messages []string
	must(t, c.Each(func(f capture.Frame) error {
		if m := f.Mobility(); m != nil {
			msg, err := m.Message()
			must(t, err)
			messages = append(messages, f.Src.String()+" "+msg.Type.String())
		}
		return nil
	}))
	if len(messages) != 1 {
		t.Errorf("signalling seen: %q, want one Request", messages)
	}
	t.Log(messages)
}
