package detect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
)

var shownFile = flag.String("shown", "", "write the filters of one VM, as tc shows them, to this file")

// shown is what tc shows of the filters of one VM: docs/bluefield.md has it.
type shown struct {
	Serving map[string]string `json:"serving"` // by port: the VM runs here
	Moved   map[string]string `json:"moved"`   // it runs elsewhere, new flows are dropped
}

// TestShown sends packets through the filters of a VM that runs here, and of the
// same one when it has moved, and has tc show them.
func TestShown(t *testing.T) {
	if *shownFile == "" {
		t.Skip("make testbed-arm64 runs it, where tc and flower are")
	}
	r := &fastRig{}
	var env haltest.Env
	rig := haltest.NewNamespaceRig(t, func(e haltest.Env) (hwabstraction.Device, error) {
		env = e
		return r.open(t, e)
	})
	r.World = rig.World
	old, there, peer := netip.MustParseAddr("2001:db8:a::7"), netip.MustParseAddr("2001:db8:b::fff7"), netip.MustParseAddr("2001:db8:9::9")
	fabric, vm := r.Fabric(), r.VMs()[0]
	in := datagram(t, fabric.Far, fabric.MAC, peer, old)
	out := datagram(t, vm.Far, hwabstraction.DefaultGatewayMAC, old, peer)
	here := hwabstraction.Stamp{Owner: [16]byte{1}, Epoch: 1}
	apply(t, r.dev, hwabstraction.Deliver{Stamp: here, Address: old, Restore: old, Port: vm.Name, MAC: vm.Far},
		hwabstraction.Egress{Stamp: here, Port: vm.Name, Source: old, MAC: vm.Far})
	if err := r.dev.Activate(here); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.Send(t, fabric.Name, in)
		r.Send(t, vm.Name, out)
	}
	r.arrive(t, vm.Name, 3, old)
	r.arrive(t, fabric.Name, 3, peer)
	var s shown
	s.Serving = asShown(t, env, fabric.Name, vm.Name)
	away := hwabstraction.Stamp{Owner: [16]byte{1}, Epoch: 2}
	apply(t, r.dev, hwabstraction.Redirect{Stamp: away, Address: old, To: there, Locator: there, New: hwabstraction.NewDrop})
	if err := r.dev.Arm(away); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		r.Send(t, fabric.Name, in)
	}
	r.arrive(t, fabric.Name, 4, there)
	s.Moved = asShown(t, env, fabric.Name)
	b, err := json.MarshalIndent(s, "", "\t")
	if err == nil {
		err = os.WriteFile(*shownFile, append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func apply(t *testing.T, d hwabstraction.Device, rules ...hwabstraction.Rule) {
	t.Helper()
	var changes []hwabstraction.Change
	for _, r := range rules {
		changes = append(changes, hwabstraction.Put(r))
	}
	for _, res := range d.Apply(t.Context(), changes) {
		if res.Err != nil {
			t.Fatal(res.Err)
		}
	}
}

// datagram is a UDP packet between two addresses.
func datagram(t *testing.T, from, to haltest.MAC, src, dst netip.Addr) []byte {
	t.Helper()
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	udp := &layers.UDP{SrcPort: 4000, DstPort: 4000}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: from[:], DstMAC: to[:], EthernetType: layers.EthernetTypeIPv6}, ip, udp, gopacket.Payload("shown"))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// arrive waits for packets to an address at the far end of a port.
func (r *fastRig) arrive(t *testing.T, port string, n int, to netip.Addr) {
	t.Helper()
	frames := r.Seen(t, port, n, func(f []byte) bool { return len(f) > 54 && bytes.Equal(f[38:54], to.AsSlice()) })
	if len(frames) != n {
		t.Fatalf("%d packets to %s came out at %s, want %d", len(frames), to, port, n)
	}
}

// asShown is what tc shows of ports, once the fast path has settled.
func asShown(t *testing.T, e haltest.Env, ports ...string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	texts := map[string]string{}
	for _, port := range ports {
		var out []byte
		err := e.Do(func() (err error) {
			cmd := exec.CommandContext(ctx, "tc", "-s", "filter", "show", "dev", port, "ingress")
			var said bytes.Buffer
			cmd.Stderr = &said
			if out, err = cmd.Output(); err != nil {
				err = errors.Join(err, errors.New(said.String()))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if texts[port] = string(out); !strings.Contains(texts[port], "flower") {
			t.Errorf("no filter on %s:\n%s", port, out)
		}
	}
	return texts
}
