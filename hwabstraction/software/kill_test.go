package software

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// childEnv makes the test binary a device process in the namespace on its
// descriptor 3; the value is the directory for pins.
const childEnv = "DPMIP_SOFTWARE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

// child prepares a hold, says so and waits to be killed.
func child(dir string) error {
	d, err := Open(Config{NetNS: 3, BPFDir: dir, Fabric: []string{"fab0"}, MaxRules: 4096, MaxFlows: 1024})
	if err != nil {
		return err
	}
	f := fams[0]
	s := stamp(2)
	for _, r := range d.Apply(context.Background(), []hwabstraction.Change{
		hwabstraction.Put(hwabstraction.Egress{Stamp: s, Port: "vm0", Source: f.old, MAC: vmMAC}),
		hwabstraction.Put(hwabstraction.Deliver{Stamp: s, Address: f.old, Restore: f.old, Port: "vm0", MAC: vmMAC}),
		hwabstraction.Put(hwabstraction.Deliver{Stamp: s, Address: f.d, Restore: f.old, Port: "vm0", MAC: vmMAC, Hold: true}),
		hwabstraction.Put(hwabstraction.HostRoute{Stamp: s, Address: f.peer, Locator: f.locator[0]}),
	}) {
		if r.Err != nil {
			return r.Err
		}
	}
	fmt.Println("ready")
	select {}
}

// TestKilledWhileHolding kills the process that holds; its successor owns the
// same rules, and releases what was held by nobody in between.
func TestKilledWhileHolding(t *testing.T) {
	l := newLab(t, AttachAuto)
	onOneCPU(t)
	f := fams[0]
	l.must(l.dev[1].Close())
	kill := l.startChild(1)
	l.apply(0, hwabstraction.Put(hwabstraction.Redirect{Stamp: stamp(2), Address: f.old, To: f.d, Locator: f.locator[1]}))
	l.must(l.dev[0].Arm(stamp(2)))
	to := netip.AddrPortFrom(f.old, 4000)
	out, in := l.spine.udp(netip.AddrPortFrom(f.peer, 0)), l.vm[1].udp(to)
	const n = 300
	for k := range n {
		send(t, out, to, k)
	}
	kill()
	for k := n; k < 2*n; k++ {
		send(t, out, to, k)
	}
	d := l.open(1)
	waitHeld(t, d, 2*n)
	rules, err := d.Rules(t.Context())
	if err != nil || len(rules) != 4 {
		t.Fatalf("the successor finds %v, %v", rules, err)
	}
	for _, r := range rules {
		if r.Placement == hwabstraction.PlacementNone || r.Rule.Stamped() != stamp(2) {
			t.Errorf("the successor finds %+v", r)
		}
	}
	l.must(d.Activate(stamp(2)))
	for k := 2 * n; k < 3*n; k++ {
		send(t, out, to, k)
	}
	if got := collect(t, in, 3*n); len(got) != 3*n || !slices.IsSorted(got) {
		t.Errorf("released %d of %d, sorted %t", len(got), 3*n, slices.IsSorted(got))
	}
}

// startChild runs a device process for hypervisor i and returns what kills it.
func (l *lab) startChild(i int) (kill func()) {
	l.t.Helper()
	fd, err := unix.Dup(int(l.hv[i].ns))
	l.must(err)
	ns := os.NewFile(uintptr(fd), "netns")
	defer ns.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+l.config(i).BPFDir)
	cmd.ExtraFiles = []*os.File{ns}
	out, err := cmd.StdoutPipe()
	l.must(err)
	l.must(cmd.Start())
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	l.t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		l.t.Fatalf("device process: %q, %v", line, err)
	}
	return kill
}

// TestKilledWhileReleasing leaves a group as a process does that dies between
// switching it on and opening its hold.
func TestKilledWhileReleasing(t *testing.T) {
	l := newLab(t, AttachAuto)
	onOneCPU(t)
	f := fams[0]
	l.prepare(1, f, f.d, 2)
	to := netip.AddrPortFrom(f.d, 4000)
	out, in := l.spine.udp(netip.AddrPortFrom(f.peer, 0)), l.vm[1].udp(netip.AddrPortFrom(f.old, 4000))
	const n = 100
	for k := range n {
		send(t, out, to, k)
	}
	waitHeld(t, l.dev[1], n)
	l.dev[1].index[stamp(2)].slot.set(instActive)
	for k := n; k < 2*n; k++ {
		send(t, out, to, k)
	}
	l.open(1)
	if got := collect(t, in, 2*n); len(got) != 2*n || !slices.IsSorted(got) {
		t.Errorf("released %d of %d, sorted %t", len(got), 2*n, slices.IsSorted(got))
	}
}
