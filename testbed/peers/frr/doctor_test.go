package frr_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dpmip/dpmip/router/igp"
	"github.com/dpmip/dpmip/testbed/peers/frr"
)

// shell runs a command in the ToR's namespace.
func (f *fabric) shell(format string, args ...any) {
	f.t.Helper()
	words := strings.Fields(fmt.Sprintf(format, args...))
	cmd := exec.Command(words[0], words[1:]...)
	if err := f.TOR.Run(cmd); err != nil {
		f.t.Fatalf("%v: %v", words, err)
	}
}

// complains waits until the doctor says this of a check.
func (f *fabric) complains(name, state, text string) {
	f.t.Helper()
	for {
		c := f.checks()[name]
		if c != nil && c.State == state && strings.Contains(c.Found+" "+c.Advice, text) {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-f.ctx.Done():
			f.t.Fatalf("doctor: %s is %v, want %s: %s", name, c, state, text)
		}
	}
}

// TestDoctorSaysWhyFRRIgnoresTheRoutes: every way to get it wrong.
func TestDoctorSaysWhyFRRIgnoresTheRoutes(t *testing.T) {
	t.Parallel()
	f := open(t, igp.OSPF3)
	a := f.vm(0)
	f.set(2, hour, a)
	f.await(true, a)
	f.healthy()

	f.must(f.tor.Apply("router ospf6\n no redistribute kernel\nexit\n"))
	f.complains("ospf6: redistribute kernel", "failed", "is missing")
	f.must(f.tor.Apply("router ospf6\n redistribute kernel\nexit\n"))
	f.complains("ospf6: redistribute kernel", "warning", "no route-map")
	f.must(f.tor.Apply("router ospf6\n redistribute kernel route-map NOBODY\nexit\n"))
	f.complains("ospf6: redistribute kernel", "failed", "route-map NOBODY does not exist")
	f.must(f.tor.Apply("no ipv6 prefix-list DPMIP-HOSTS6\nrouter ospf6\n redistribute kernel route-map DPMIP6\nexit\n"))
	f.complains("ospf6: redistribute kernel", "failed", "prefix-list DPMIP-HOSTS6 does not exist")
	f.must(f.tor.Apply(options(igp.OSPF3).Fragment()))
	f.healthy()

	f.must(f.tor.Apply("zebra nexthop kernel enable\n"))
	f.complains("FRR keeps its routes", "warning", "no zebra nexthop kernel enable")
	f.must(f.tor.Apply(options(igp.OSPF3).Fragment()))
	f.healthy()

	f.must(f.tor.Apply("router ospf6\n timers throttle spf 5000 5000 5000\nexit\n"))
	f.complains("ospf6: timers", "warning", "timers throttle spf 0 50 500")
	f.must(f.tor.Apply(options(igp.OSPF3).Fragment()))

	f.shell("ip route add %s/128 dev h0 proto 196 metric 10", a)
	f.complains("FRR sees the host routes", "failed", "a route of protocol 196")
	f.shell("ip route del %s/128 proto 196 metric 10", a)

	f.shell("ip link set f0 mtu 1400")
	f.must(f.tor.Kill(frr.OSPF3))
	f.must(f.tor.Restart(frr.OSPF3))
	f.complains("ospf6: neighbours", "failed", "the MTU of the two ends differs")
	f.shell("ip link set f0 mtu 1500")
	f.must(f.tor.Kill(frr.OSPF3))
	f.complains("ospf6: configured", "failed", "is the daemon running?")
	f.must(f.tor.Restart(frr.OSPF3))
	f.await(true, a)
}
