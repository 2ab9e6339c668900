package netdevsim

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/detect"
	"github.com/dpmip/dpmip/testbed/netns"
)

// TestEswitchIsRead: what a real kernel tells of an e-switch and its ports, by
// rtnetlink and devlink, is what detect makes of it: before the mode switchdev
// there is an uplink, after it a representor for each function.
func TestEswitchIsRead(t *testing.T) {
	if !Present() {
		t.Skip("this kernel has no netdevsim: make testbed-netdevsim brings one that has")
	}
	_, ns, d := eswitch(t, 60)
	check(t, ns, d, "legacy", "p1")
	if err := d.Functions(2); err != nil {
		t.Fatal(err)
	}
	check(t, ns, d, "switchdev", "p1", "pf0vf0", "pf0vf1")
}

// eswitch makes a device with an uplink, in legacy mode, in a namespace of its own.
func eswitch(t *testing.T, id int) (*netns.Set, *netns.NS, *Device) {
	t.Helper()
	set, err := netns.Open(t.TempDir(), "switch")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	ns, err := set.Create("switch")
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewPorts(ns, id, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return set, ns, d
}

// check holds what detect reads in a namespace against a device in a mode with
// ports of these names.
func check(t *testing.T, ns *netns.NS, d *Device, mode string, ports ...string) {
	t.Helper()
	f, err := os.Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e := detect.Probe(detect.ProbeConfig{NetNS: int(f.Fd())})
	if diff := cmp.Diff([]detect.Eswitch{{Device: d.Name(), Mode: mode}}, e.Eswitches); diff != "" {
		t.Errorf("e-switches (-want +got):\n%s", diff)
	}
	want, got, switches := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, name := range ports {
		want[name] = true
	}
	r, err := detect.NewResolver(int(f.Fd()), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, p := range e.Netdevs {
		if p.PortName == "" {
			continue
		}
		got[p.PortName], switches[p.SwitchID] = true, true
		if at, err := r.Index(p.PortName); err != nil || at != p.Index {
			t.Errorf("%s is found as port %d, %v; it is %s, port %d", p.PortName, at, err, p.Name, p.Index)
		}
		if p.Offload == "" {
			t.Errorf("hw-tc-offload of %s was not read", p.Name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ports, %s (-want +got):\n%s", mode, diff)
	}
	if len(switches) != 1 || switches[""] {
		t.Errorf("one device is %d e-switches: %v", len(switches), switches)
	}
	if _, err := r.Index("pf0vf7"); !errors.Is(err, hwabstraction.ErrPortGone) {
		t.Errorf("a function that is not there is found: %v", err)
	}
}
