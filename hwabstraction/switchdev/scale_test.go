package switchdev

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

func TestCovered(t *testing.T) {
	t.Parallel()
	var list []netip.Prefix
	for _, s := range []string{"10.1.0.0/16", "10.1.2.0/24", "10.3.0.7/32", "192.0.2.0/24", "10.1.2.3/32"} {
		list = append(list, netip.MustParsePrefix(s))
	}
	list = compact(list)
	if len(list) != 3 {
		t.Errorf("compact: %v", list)
	}
	for s, want := range map[string]bool{
		"10.1.0.0/16": true, "10.1.9.9/32": true, "10.0.0.0/8": false, "10.2.0.0/32": false, "10.3.0.7/32": true, "10.3.0.8/32": false,
		"192.0.2.255/32": true, "9.0.0.0/8": false, "255.0.0.0/8": false,
	} {
		if got := covered(list, netip.MustParsePrefix(s)); got != want {
			t.Errorf("%s is covered: %v, want %v", s, got, want)
		}
	}
}

// BenchmarkManyVMs puts rules of many VMs, one after the other, each on a port of
// its own, activates them, and waits for their filters; then once more a change
// of one of them.
func BenchmarkManyVMs(b *testing.B) {
	const vms = 1000
	for b.Loop() {
		s := around()
		table, kernel := newTable(&diary{}, 1), &fakeKernel{ports: map[string]ways.Port{"fab0": s.uplinks[0]}, hops: s.hops, exits: s.exits, changed: make(chan struct{})}
		for i := range vms {
			table.ports[int32(10+i)] = false
			kernel.ports[fmt.Sprintf("vm%d", i)] = ways.Port{Index: int32(10 + i), MTU: 1500, MAC: [6]byte{2, 5: 7}}
		}
		d, err := Open(haltest.NewChaos(haltest.Plan{}), Config{Fabric: []string{"fab0"}, Table: table, Kernel: kernel, SkipHW: true})
		if err != nil {
			b.Fatal(err)
		}
		d.Apply(b.Context(), []hwabstraction.Change{hwabstraction.Put(hwabstraction.Unreachable{Stamp: stamp(1, 1), Prefix: netip.MustParsePrefix("10.1.0.0/16")})})
		for i := range vms {
			st := hwabstraction.Stamp{Owner: [16]byte{1, byte(i >> 8), byte(i)}, Epoch: 1}
			a, port := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), fmt.Sprintf("vm%d", i)
			d.Apply(b.Context(), []hwabstraction.Change{
				hwabstraction.Put(hwabstraction.Deliver{Stamp: st, Address: a, Restore: a, Port: port, MAC: vmMAC}),
				hwabstraction.Put(hwabstraction.Egress{Stamp: st, Port: port, Source: a, MAC: vmMAC}),
			})
			if err := d.Activate(st); err != nil {
				b.Fatal(err)
			}
		}
		if err := d.Settle(b.Context()); err != nil {
			b.Fatal(err)
		}
		if n := len(table.find(entryChain, entryPriority+1)); n != 2*vms {
			b.Fatalf("%d entries of %d VMs", n, vms)
		}
		d.Close()
	}
}

// BenchmarkAdopt opens a device over the rules and filters that an earlier one
// has left, until it has found that they are all right.
func BenchmarkAdopt(b *testing.B) {
	const vms = 10000
	s := around()
	table := newTable(&diary{}, 1, 7)
	kernel := &fakeKernel{ports: map[string]ways.Port{"fab0": s.uplinks[0], "vm0": s.ports["vm0"]}, hops: s.hops, exits: s.exits, changed: make(chan struct{})}
	chaos := haltest.NewChaos(haltest.Plan{})
	open := func() *Device {
		d, err := Open(chaos, Config{Fabric: []string{"fab0"}, Table: table, Kernel: kernel, SkipHW: true})
		if err != nil {
			b.Fatal(err)
		}
		return d
	}
	d := open()
	var changes []hwabstraction.Change
	for i := range vms {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		st := hwabstraction.Stamp{Owner: [16]byte{1, byte(i >> 8), byte(i)}, Epoch: 1}
		changes = append(changes, hwabstraction.Put(hwabstraction.Deliver{Stamp: st, Address: a, Restore: a, Port: "vm0", MAC: vmMAC}))
	}
	d.Apply(b.Context(), changes)
	for _, c := range changes {
		if err := d.Activate(c.Rule.Stamped()); err != nil {
			b.Fatal(err)
		}
	}
	if err := d.Settle(b.Context()); err != nil {
		b.Fatal(err)
	}
	d.Halt()
	var opened time.Duration
	for b.Loop() {
		start := time.Now()
		d := open()
		opened += time.Since(start)
		if err := d.Settle(b.Context()); err != nil {
			b.Fatal(err)
		}
		d.Halt()
	}
	b.ReportMetric(float64(opened.Milliseconds())/float64(b.N), "ms-to-open")
}
