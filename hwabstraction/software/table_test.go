package software

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// host is a hypervisor without anybody around it, and its device.
func host(t testing.TB, edit func(*Config)) (*node, *lab) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	l := &lab{t: t, dir: [2]string{t.TempDir()}}
	t.Cleanup(func() { unix.Unmount(filepath.Join(l.dir[0], "bpf"), unix.MNT_DETACH) })
	far := newNode(t)
	l.hv[0] = newNode(t)
	wire(l.hv[0], "fab0", far, "far0")
	wire(l.hv[0], "fab1", far, "far1")
	l.hv[0].addr("fab0", "10.0.1.2/24", "fd01::2/64")
	l.hv[0].addr("fab1", "10.0.2.2/24", "fd02::2/64")
	l.hv[0].via("fab0", "10.0.1.1", "0.0.0.0/0")
	l.hv[0].via("fab0", "fd01::1", "::/0")
	cfg := l.config(0)
	if edit != nil {
		edit(&cfg)
	}
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.dev[0] = d
	t.Cleanup(func() { d.Close() })
	return l.hv[0], l
}

func numbered(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfd, 0x77, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
}

func redirects(n int, s hwabstraction.Stamp) []hwabstraction.Change {
	out := make([]hwabstraction.Change, n)
	for i := range out {
		out[i] = hwabstraction.Put(hwabstraction.Redirect{
			Stamp: s, Address: numbered(i + 1), To: numbered(i + 1<<17), Locator: netip.MustParseAddr("fd02::2"),
		})
	}
	return out
}

// TestTableFull fills the table, sees every rule that does not fit refused by
// itself, and finds the room again after deleting.
func TestTableFull(t *testing.T) {
	t.Parallel()
	const size = 100
	_, l := host(t, func(c *Config) { c.MaxRules = size })
	d := l.dev[0]
	full := 0
	for _, r := range d.Apply(t.Context(), redirects(size+20, stamp(1))) {
		switch {
		case errors.Is(r.Err, hwabstraction.ErrTableFull) && r.Placement == hwabstraction.PlacementNone:
			full++
		case r.Err != nil || r.Placement != hwabstraction.PlacementEBPF:
			t.Errorf("%s: %s, %v", r.ID, r.Placement, r.Err)
		}
	}
	if full != 21 { // slot 0 is no rule
		t.Errorf("%d rules refused, want 21", full)
	}
	l.apply(0, hwabstraction.Remove(hwabstraction.RedirectID(numbered(1)), stamp(1)))
	l.apply(0, redirects(size+20, stamp(1))[size+19])
	rules, err := d.Rules(t.Context())
	if err != nil || len(rules) != size-1 {
		t.Errorf("%d rules, %v", len(rules), err)
	}
}

// TestManyMTUs refuses the MTU for which there is no mark left.
func TestManyMTUs(t *testing.T) {
	t.Parallel()
	_, l := host(t, nil)
	for i := range 20 {
		r := hwabstraction.Redirect{Stamp: stamp(1), Address: numbered(i), To: numbered(99), PathMTU: uint16(1400 - i)}
		err := l.dev[0].Apply(t.Context(), []hwabstraction.Change{hwabstraction.Put(r)})[0].Err
		if want := i >= maxMTUs-1; errors.Is(err, hwabstraction.ErrTableFull) != want { // one is the fabric's
			t.Errorf("MTU %d of the path: %v", i, err)
		}
	}
}

// TestFlowsFull loads more flows than fit.
func TestFlowsFull(t *testing.T) {
	t.Parallel()
	_, l := host(t, func(c *Config) { c.MaxFlows = 10 })
	d := l.dev[0]
	l.apply(0, redirects(1, stamp(1))[0], redirects(2, stamp(2))[1])
	var flows []hwabstraction.Flow
	for i := range 12 {
		flows = append(flows, hwabstraction.Flow{Protocol: 17, VM: hwabstraction.Endpoint{Addr: numbered(1), Port: uint16(i)}, Peer: hwabstraction.Endpoint{Addr: numbered(9)}})
	}
	if n, err := d.LoadFlows(t.Context(), stamp(1), flows); n != 10 || !errors.Is(err, hwabstraction.ErrTableFull) {
		t.Errorf("LoadFlows: %d, %v", n, err)
	}
	l.apply(0, hwabstraction.Remove(hwabstraction.RedirectID(numbered(1)), stamp(1)))
	if n, err := d.LoadFlows(t.Context(), stamp(2), flows[:10]); n != 10 || err != nil {
		t.Errorf("LoadFlows after the other group has gone: %d, %v", n, err)
	}
}

// memoryJournal is a Journal as nicmem has one.
type memoryJournal map[string]record

type record struct {
	stamp   hwabstraction.Stamp
	payload []byte
}

func (j memoryJournal) Put(key []byte, s hwabstraction.Stamp, payload []byte) error {
	if len(key) > 64 || len(payload) > 64 {
		return fmt.Errorf("record of %d+%d bytes", len(key), len(payload))
	}
	j[string(key)] = record{s, append([]byte(nil), payload...)}
	return nil
}

func (j memoryJournal) Delete(key []byte) error {
	delete(j, string(key))
	return nil
}

func (j memoryJournal) Range(f func([]byte, hwabstraction.Stamp, []byte) bool) {
	for k, r := range j {
		if !f([]byte(k), r.stamp, r.payload) {
			return
		}
	}
}

// TestRoutesFollow moves the way to a locator and sees the host routes follow,
// of this process and of its successor, with either journal.
func TestRoutesFollow(t *testing.T) {
	for _, j := range []Journal{nil, memoryJournal{}} {
		t.Run(fmt.Sprintf("%T", j), func(t *testing.T) {
			t.Parallel()
			hv, l := host(t, func(c *Config) { c.Journal = j })
			a4, a6 := netip.MustParseAddr("10.77.1.5"), netip.MustParseAddr("fd77:1::5")
			loc := netip.MustParseAddr("fd0b::1")
			l.apply(0,
				hwabstraction.Put(hwabstraction.HostRoute{Stamp: stamp(1), Address: a6, Locator: loc}),
				hwabstraction.Put(hwabstraction.HostRoute{Stamp: stamp(1), Address: a4, Locator: loc, Metric: 77}),
				hwabstraction.Put(hwabstraction.Unreachable{Stamp: stamp(1), Prefix: netip.MustParsePrefix("fd77:1::/64")}))
			hv.awaitVia(t, a6, "fd01::1")
			hv.awaitVia(t, a4, "fd01::1")
			hv.via("fab1", "fd02::1", "fd0b::/16")
			hv.awaitVia(t, a6, "fd02::1")
			hv.awaitVia(t, a4, "fd02::1")

			cfg := l.config(0)
			cfg.Journal = j
			next, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer next.Close()
			l.dev[0].Close()
			l.dev[0] = next
			rules, err := next.Rules(t.Context())
			if err != nil || len(rules) != 3 {
				t.Fatalf("the successor finds %v, %v", rules, err)
			}
			hv.via("fab0", "fd01::7", "fd0b::/16")
			hv.awaitVia(t, a6, "fd01::7")
			for _, r := range rules {
				l.apply(0, hwabstraction.Remove(r.Rule.ID(), stamp(1)))
			}
			rules, err = next.Rules(t.Context())
			if err != nil || len(rules) != 0 {
				t.Errorf("after deleting: %v, %v", rules, err)
			}
		})
	}
}

// awaitVia waits until an address is routed to a next hop.
func (n *node) awaitVia(t *testing.T, a netip.Addr, want string) {
	t.Helper()
	d := &Device{nl: n.nl}
	var got hop
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		var err error
		if got, err = d.nextHop(a); err == nil && got.via == netip.MustParseAddr(want) {
			return
		}
	}
	t.Fatalf("%s is routed to %v, want %s", a, got, want)
}

// TestPortRecreated puts an egress on a port that was made anew under its name.
func TestPortRecreated(t *testing.T) {
	t.Parallel()
	hv, l := host(t, nil)
	e := hwabstraction.Egress{Stamp: stamp(1), Port: "vm0", Source: numbered(1), MAC: vmMAC}
	for range 2 {
		vm := newNode(t)
		wire(hv, "vm0", vm, "eth0")
		l.apply(0, hwabstraction.Put(e))
		rules, err := l.dev[0].Rules(t.Context())
		want := []hwabstraction.RuleStatus{{Rule: e, Placement: hwabstraction.PlacementEBPF, On: true}}
		if diff := cmp.Diff(want, rules, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
			t.Fatalf("%v, rules (-want +got):\n%s", err, diff)
		}
		hv.must(hv.nl.LinkDel(hv.link("vm0")))
		rules, err = l.dev[0].Rules(t.Context())
		if err != nil || len(rules) != 1 || rules[0].Placement != hwabstraction.PlacementNone {
			t.Fatalf("without its port: %+v, %v", rules, err)
		}
	}
}

// TestGonePortIsForgotten takes the VM from a port, by this process or an earlier
// one, then the port: nothing of it stays pinned.
func TestGonePortIsForgotten(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %t", restarted), func(t *testing.T) {
			t.Parallel()
			hv, l := host(t, func(c *Config) { c.Attach = AttachTCX })
			wire(hv, "vm0", newNode(t), "eth0")
			e := hwabstraction.Egress{Stamp: stamp(1), Port: "vm0", Source: numbered(1), MAC: vmMAC}
			l.apply(0, hwabstraction.Put(e))
			l.apply(0, hwabstraction.Remove(e.ID(), stamp(1)))
			pin := l.dev[0].linkPin(uint32(hv.link("vm0").Attrs().Index))
			if _, err := os.Stat(pin); err != nil {
				t.Fatalf("the program has left the port with the VM: %v", err)
			}
			if restarted {
				l.dev[0].Close()
				next, err := Open(l.config(0))
				if err != nil {
					t.Fatal(err)
				}
				l.dev[0] = next
				defer next.Close()
			}
			hv.must(hv.nl.LinkDel(hv.link("vm0")))
			for end := time.Now().Add(5 * time.Second); ; {
				if _, err := os.Stat(pin); errors.Is(err, os.ErrNotExist) {
					return
				}
				if time.Now().After(end) {
					t.Fatal("the port's pin is still there")
				}
			}
		})
	}
}

// TestPinnedSizesStay opens pins with another size in the configuration.
func TestPinnedSizesStay(t *testing.T) {
	t.Parallel()
	_, l := host(t, func(c *Config) { c.MaxRules = 64 })
	cfg := l.config(0)
	cfg.MaxRules = 128
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := d.Capabilities().MaxRules; got != 64 {
		t.Errorf("a pinned table of 64 rules has %d after a change of the configuration", got)
	}
}

func TestConfigErrors(t *testing.T) {
	for name, c := range map[string]Config{
		"relative": {BPFDir: "bpf"},
		"attach":   {BPFDir: "/x", Attach: AttachClsBPF + 1},
		"size":     {BPFDir: "/x", MaxRules: 1},
		"place":    {BPFDir: "/x", Attach: AttachTCX, Place: Place{Chain: 7}},
	} {
		if d, err := Open(c); err == nil {
			d.Close()
			t.Errorf("%s: opened", name)
		}
	}
}

// TestTBFMessage pins the request that closes a hold.
func TestTBFMessage(t *testing.T) {
	got := hex.EncodeToString(tbfMessage(5, tbf{rate: 1, overhead: closedOverhead, burst: 1564, limit: 1 << 20}).body)
	want := "0000000005000000000001" + "00ffffffff00000000" + // tcmsg
		"08000100" + "74626600" + // TCA_KIND tbf
		"40000200" + // TCA_OPTIONS
		"28000100" + "0001ffff0000000001000000" + "000000000000000000000000" + "00001000" + "01000000" + "00000000" +
		"08000600" + "1c060000" + "0c000400" + "0100000000000000"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestObjectsMatchSource compiles the programs again: the same bytes must come.
func TestObjectsMatchSource(t *testing.T) {
	dir := t.TempDir()
	line := generateLine(t)
	cmd := exec.Command("sh", "-c", line)
	cmd.Env = append(os.Environ(), "GOPACKAGE=software", "OUT="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	for _, name := range []string{"bpf_bpfel.o", "bpf_bpfel.go"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what its source gives: run make generate (%v)", name, err)
		}
	}
}

func generateLine(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("gen.go")
	if err != nil {
		t.Fatal(err)
	}
	const mark = "//go:generate go tool bpf2go "
	for line := range strings.Lines(string(b)) {
		if len(line) > len(mark) && line[:len(mark)] == mark {
			return "go tool bpf2go -output-dir \"$OUT\" " + line[len(mark):]
		}
	}
	t.Fatal("gen.go has no line for bpf2go")
	return ""
}

// TestCounterReused gives a counter that has counted to another rule.
func TestCounterReused(t *testing.T) {
	t.Parallel()
	_, l := host(t, func(c *Config) { c.MaxRules = 4 })
	d := l.dev[0]
	rules := redirects(4, stamp(1))
	l.apply(0, rules[0])
	used := make([]counterValue, ebpf.MustPossibleCPU())
	used[0] = counterValue{Packets: 5, Bytes: 50, Last: monotonic()}
	at := d.slotOf(rules[0].Target())
	l.must(d.tables.Counters.Put(d.tables.rules.at[at].Counter, used))
	l.apply(0, hwabstraction.Put(hwabstraction.Redirect{Stamp: stamp(2), Address: numbered(1), To: numbered(9)}))
	got, err := d.Counters(t.Context(), []hwabstraction.RuleID{rules[0].Target()})
	if c := got[rules[0].Target()]; err != nil || c.Packets != 5 || c.Bytes != 50 || c.LastUse.IsZero() {
		t.Errorf("a replaced rule counts %+v, %v; want it to go on", c, err)
	}
	l.apply(0, hwabstraction.Remove(rules[0].Target(), stamp(2)))
	l.apply(0, rules[1:]...)
	for _, c := range rules[1:] {
		got, err := d.Counters(t.Context(), []hwabstraction.RuleID{c.Target()})
		if err != nil || got[c.Target()] != (hwabstraction.Counter{}) {
			t.Errorf("%s starts with %+v, %v", c.Target(), got[c.Target()], err)
		}
	}
}
