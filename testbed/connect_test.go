package testbed

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dpmip/dpmip/testbed/topology"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// TestAttemptsTellAcceptedRefusedUnanswered tries a service, a port without
// one, and a VM that is nowhere, over TCP and UDP and both families.
func TestAttemptsTellAcceptedRefusedUnanswered(t *testing.T) {
	l := up(t)
	for _, network := range []string{"tcp", "udp"} {
		for _, family := range []int{6, 4} {
			vm := l.Endpoint("vm1", family, 9000)
			s, err := traffic.Serve(t.Context(), vm.NS, vm.Addr)
			must(t, err)
			try := func(port uint16, timeout time.Duration) traffic.Attempt {
				return traffic.Try(t.Context(), traffic.AttemptConfig{
					Network: network, From: l.Endpoint(topology.CN, family, 0), To: vm.At(port).Addr, Timeout: timeout,
				})
			}
			if a := try(9000, 10*time.Second); a.Outcome != traffic.Accepted {
				t.Errorf("%s/%d: a service: %v (%v)", network, family, a.Outcome, a.Err)
			}
			if a := try(9001, 10*time.Second); a.Outcome != traffic.Refused {
				t.Errorf("%s/%d: no service: %v (%v)", network, family, a.Outcome, a.Err)
			}
			must(t, l.Switch.Disconnect("vm1"))
			if a := try(9000, 50*time.Millisecond); a.Outcome != traffic.Unanswered {
				t.Errorf("%s/%d: nowhere: %v (%v)", network, family, a.Outcome, a.Err)
			}
			must(t, l.Switch.Connect("vm1", topology.HVA))
			must(t, s.Close())
		}
	}
}

// TestRunningAttempts sums up tries that overlap a pause of the VM.
func TestRunningAttempts(t *testing.T) {
	l := up(t)
	vm := l.Endpoint("vm1", 6, 9000)
	s, err := traffic.Serve(t.Context(), vm.NS, vm.Addr)
	must(t, err)
	defer s.Close()
	a := traffic.StartAttempts(t.Context(), traffic.AttemptConfig{
		Network: "tcp", From: l.Endpoint(topology.CN, 6, 0), To: vm.Addr, Interval: 2 * time.Millisecond, Timeout: 400 * time.Millisecond,
	})
	defer a.Stop()
	count := func(o traffic.Outcome) func() bool {
		return func() bool {
			n := 0
			for _, try := range a.Tries() {
				if try.Outcome == o {
					n++
				}
			}
			return n >= 20
		}
	}
	waitFor(t, count(traffic.Accepted))
	must(t, l.Switch.Disconnect("vm1"))
	waitFor(t, count(traffic.Unanswered))
	a.Stop()
	r := a.Report(0, 0)
	if r.Attempted != r.Accepted+r.Unanswered || r.Refused != 0 || r.Accepted < 20 || r.Unanswered < 20 {
		t.Errorf("%+v, want accepted and unanswered ones and nothing else", r)
	}
	must(t, l.Switch.Connect("vm1", topology.HVA))
}

// TestLargeDatagrams sends 4000 bytes each way, which the network fragments.
func TestLargeDatagrams(t *testing.T) {
	l := up(t)
	for i, family := range []int{6, 4} {
		s, err := traffic.OpenStream(traffic.StreamConfig{
			ID: uint32(i), PPS: 500, Size: 4000,
			A: l.Endpoint("vm4", family, 7001), B: l.Endpoint("vm1", family, 7001),
		})
		must(t, err)
		s.Start()
		must(t, s.WaitFor(t.Context(), 100))
		s.Stop()
		wantClean(t, "vm4->vm1", s.Whole().AToB)
		wantClean(t, "vm1->vm4", s.Whole().BToA)
	}
}

// TestRenumberedVMPrefersItsNewAddress checks what a VM opens connections from.
func TestRenumberedVMPrefersItsNewAddress(t *testing.T) {
	l := up(t)
	vm, _ := l.Plan.VM("vm1")
	fresh := []netip.Addr{netip.MustParseAddr("2001:db8:b:1::99"), netip.MustParseAddr("10.2.1.99")}
	must(t, l.Renumber("vm1", fresh, vm.Addr.Both()))
	for i, target := range l.Plan.CN.Both() {
		c, err := l.Node("vm1").NS.DialContext(t.Context(), "udp", netip.AddrPortFrom(target, 9).String())
		must(t, err)
		if got := c.LocalAddr().String(); !strings.Contains(got, fresh[i].String()) {
			t.Errorf("to %s from %s, want %s", target, got, fresh[i])
		}
		c.Close()
	}
	must(t, l.Forget("vm1", vm.Addr.Both()))
	if _, err := traffic.Serve(t.Context(), l.Node("vm1").NS, netip.AddrPortFrom(vm.Addr.V4, 9000)); err == nil {
		t.Error("a forgotten address is still there")
	}
}
