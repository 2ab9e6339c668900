package software

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/internal/transcript"
)

// audited is a hypervisor that serves a VM, with what it logs.
type audited struct {
	*lab
	hv  *node
	dev *Device
	log *transcript.Transcript
}

// newAudited opens a device that looks for everything this often, by itself.
func newAudited(t *testing.T, attach Attach, every time.Duration) *audited {
	t.Helper()
	l := newLab(t, attach)
	l.must(l.dev[0].Close())
	a := &audited{lab: l, hv: l.hv[0], log: &transcript.Transcript{}}
	c := l.config(0)
	c.Audit, c.Log = every, slog.New(slog.NewTextHandler(a.log, nil))
	d, err := Open(c)
	l.must(err)
	t.Cleanup(func() { l.must(d.Close()) })
	a.dev, l.dev[0] = d, d
	for _, f := range fams {
		l.serve(0, f, 1)
	}
	l.apply(0, hwabstraction.Put(hwabstraction.HostRoute{Stamp: stamp(1), Address: numbered(9), Locator: fams[0].locator[1]}))
	l.must(d.Activate(stamp(1)))
	return a
}

// whole sends packets both ways, in both families, until all arrive: what is put
// back may take a moment.
func (a *audited) whole(t *testing.T) {
	t.Helper()
	for _, f := range fams {
		for end := time.Now().Add(10 * time.Second); !a.passes(f); {
			if time.Now().After(end) {
				t.Fatalf("%s: packets do not pass any more\n%s", f.name, a.log)
			}
		}
	}
}

// passes sends a packet each way and reports whether both have arrived.
func (a *audited) passes(f fam) bool {
	to, from := netip.AddrPortFrom(f.old, 4000), netip.AddrPortFrom(f.peer, 4001)
	peer, vm := a.spine.udp(from), a.vm[0].udp(to)
	defer peer.Close()
	defer vm.Close()
	b := make([]byte, 64)
	for _, way := range []struct {
		from, at interface {
			WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
			SetReadDeadline(time.Time) error
			Read([]byte) (int, error)
		}
		to netip.AddrPort
	}{{peer, vm, to}, {vm, peer, from}} {
		if _, err := way.from.WriteToUDPAddrPort([]byte("x"), way.to); err != nil {
			return false
		}
		way.at.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := way.at.Read(b); err != nil {
			return false
		}
	}
	return true
}

// await waits until something has been mended, and said.
func (a *audited) await(t *testing.T, what string, n uint64, said string) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(10 * time.Second); a.dev.Mended()[what] < n || !strings.Contains(a.log.String(), said); {
		if time.Now().After(end) {
			t.Fatalf("mended %v, want %s %d, and a log that says %q:\n%s", a.dev.Mended(), what, n, said, a.log)
		}
		<-again.C
	}
}

func (a *audited) delQdisc(port string) {
	a.t.Helper()
	a.must(a.hv.nl.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: a.hv.link(port).Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}))
}

func (a *audited) nft(args string) {
	a.t.Helper()
	a.hv.in(func() error {
		out, err := exec.Command("nft", args).CombinedOutput()
		if err != nil {
			return errors.Join(err, errors.New(string(out)))
		}
		return nil
	})
}

const never = time.Hour

// TestSomebodyTakesAway takes away, or changes, everything that the device needs
// beneath its rules: it is put back, counted and said, and packets pass again.
// What the kernel tells of is put back without waiting for an audit.
func TestSomebodyTakesAway(t *testing.T) {
	const program, firewall = "somebody has taken a program off a port", "netfilter table dpmip: it is written again"
	for _, tt := range []struct {
		name   string
		attach Attach
		every  time.Duration
		take   func(*audited)
		what   string
		n      uint64
		said   string
	}{
		{"the qdisc of a fabric port", AttachClsBPF, never, func(a *audited) { a.delQdisc("fab0") }, mendedProgram, 1, program},
		{"the qdisc of a VM's port", AttachClsBPF, never, func(a *audited) { a.delQdisc("vm0") }, mendedProgram, 1, program},
		{"the filter", AttachClsBPF, never, func(a *audited) {
			a.must(a.hv.nl.FilterDel(place{0, DefaultPriority}.filter(uint32(a.hv.link("fab0").Attrs().Index))))
		}, mendedProgram, 1, program},
		{"another program in its place", AttachClsBPF, never, func(a *audited) {
			f := place{0, DefaultPriority}.filter(uint32(a.hv.link("fab0").Attrs().Index))
			f.Fd, f.Name, f.DirectAction = a.dev.tables.VmIn.FD(), filterName+"other", true
			a.must(a.hv.nl.FilterReplace(f))
		}, mendedProgram, 1, program},
		{"the pinned link", AttachTCX, 20 * time.Millisecond, func(a *audited) {
			a.must(os.Remove(a.dev.linkPin(uint32(a.hv.link("fab0").Attrs().Index))))
		}, mendedProgram, 1, program},
		{"all pins", AttachClsBPF, 20 * time.Millisecond, func(a *audited) { a.must(os.RemoveAll(a.dev.tables.dir)) }, mendedPin, 15, "removed pins"},
		{"all pins, links too", AttachTCX, 20 * time.Millisecond, func(a *audited) { a.must(os.RemoveAll(a.dev.tables.dir)) }, mendedProgram, 3, program},
		{"policy rules", AttachAuto, never, func(a *audited) {
			for _, fam := range []int{unix.AF_INET, unix.AF_INET6} {
				rules, err := a.hv.nl.RuleList(fam)
				a.must(err)
				for _, r := range rules {
					if r.Table >= tableDeliver && r.Table < tableLarge+maxMTUs {
						r.Family = fam
						a.must(a.hv.nl.RuleDel(&r))
					}
				}
			}
		}, mendedPolicy, 8, "deleted policy rules"},
		{"routes of VMs", AttachAuto, 20 * time.Millisecond, func(a *audited) { a.delRoutes(tableDeliver) }, mendedRoute, 2, "deleted or changed routes"},
		{"a host route", AttachAuto, 20 * time.Millisecond, func(a *audited) { a.delRoutes(unix.RT_TABLE_MAIN) }, mendedRoute, 1, "deleted or changed routes"},
		{"routes of large packets", AttachAuto, 20 * time.Millisecond, func(a *audited) { a.delRoutes(tableLarge) }, mendedRoute, 2, "deleted or changed routes"},
		{"a host route that leads elsewhere", AttachAuto, 20 * time.Millisecond, func(a *audited) {
			a.must(a.hv.nl.RouteReplace(&netlink.Route{
				Dst: ipNet(hostPrefix(numbered(9))), Protocol: protocol, Priority: DefaultMetric, LinkIndex: a.hv.link(loopOut).Attrs().Index,
			}))
		}, mendedRoute, 1, "deleted or changed routes"},
		{"the ruleset", AttachAuto, 20 * time.Millisecond, func(a *audited) { a.nft("flush ruleset") }, mendedFirewall, 1, firewall},
		{"rules of the table", AttachAuto, 20 * time.Millisecond, func(a *audited) { a.nft("flush chain inet dpmip zones") }, mendedFirewall, 1, firewall},
		{"a zone", AttachAuto, 20 * time.Millisecond, func(a *audited) { a.nft("flush map inet dpmip zones4") }, mendedFirewall, 1, firewall},
		{"the ruleset, before a VM comes", AttachAuto, never, func(a *audited) {
			a.nft("flush ruleset")
			a.apply(0, hwabstraction.Put(hwabstraction.Egress{Stamp: stamp(1), Port: "vm0", Source: numbered(3), MAC: vmMAC}))
		}, mendedFirewall, 1, firewall},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAudited(t, tt.attach, tt.every)
			a.whole(t)
			tt.take(a)
			a.await(t, tt.what, tt.n, tt.said)
			a.whole(t)
			a.dev.audit()
			if got := a.dev.Mended(); got[tt.what] != tt.n {
				t.Errorf("mended %v, want %s %d and no more\n%s", got, tt.what, tt.n, a.log)
			}
			a.dev.locked(func() {
				if ok, err := a.dev.nft.intact(a.dev.adoptedZones()); !ok || err != nil {
					t.Errorf("the netfilter table is not what it was: %v", err)
				}
			})
		})
	}
}

// TestPinsOutliveTheirRemoval: after its pins were removed and put back, the next
// process finds what this one held.
func TestPinsOutliveTheirRemoval(t *testing.T) {
	t.Parallel()
	a := newAudited(t, AttachAuto, never)
	want, err := a.dev.Rules(t.Context())
	a.must(err)
	a.must(os.RemoveAll(a.dev.tables.dir))
	a.dev.audit()
	d := a.open(0)
	got, err := d.Rules(t.Context())
	a.must(err)
	if diff := cmp.Diff(byID(want), byID(got), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("rules (-before +after):\n%s", diff)
	}
	a.whole(t)
}

// TestNoPlaceForPins: where the file system of the pins is gone, that is said, and
// nothing is written elsewhere.
func TestNoPlaceForPins(t *testing.T) {
	t.Parallel()
	a := newAudited(t, AttachClsBPF, never)
	a.must(unix.Unmount(filepath.Join(a.dir[0], "bpf"), unix.MNT_DETACH))
	a.dev.audit()
	a.await(t, mendedPin, 0, "is on no bpffs any more")
	if left, err := os.ReadDir(filepath.Join(a.dir[0], "bpf")); err != nil || len(left) > 0 {
		t.Errorf("left on another file system: %v, %v", left, err)
	}
	a.whole(t)
}

// delRoutes deletes our routes from a table.
func (a *audited) delRoutes(table int) {
	a.t.Helper()
	for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rs, err := a.hv.nl.RouteListFiltered(fam, &netlink.Route{Protocol: protocol, Table: table}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		a.must(err)
		for _, r := range rs {
			a.must(a.hv.nl.RouteDel(&r))
		}
	}
}

// TestPortsMadeAnew deletes the VM's port, then the fabric's, and makes them anew
// under their names, as the start of a VM and a change of the e-switch's mode do:
// the rules act there, with what they have counted, and nobody has to put them again.
func TestPortsMadeAnew(t *testing.T) {
	for _, tt := range []struct {
		name, port, what string
		attach           Attach
		wires            func(*audited)
	}{
		{"the VM's, TCX", "vm0", mendedPort, AttachTCX, connectVM},
		{"the VM's, cls_bpf", "vm0", mendedPort, AttachClsBPF, connectVM},
		{"the fabric's, TCX", "fab0", mendedFabric, AttachTCX, connectFabric},
		{"the fabric's, cls_bpf", "fab0", mendedFabric, AttachClsBPF, connectFabric},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAudited(t, tt.attach, never)
			a.whole(t)
			id := hwabstraction.DeliverID(fams[0].old)
			before, err := a.dev.Counters(t.Context(), []hwabstraction.RuleID{id})
			a.must(err)
			want, err := a.dev.Rules(t.Context())
			a.must(err)
			a.must(a.hv.nl.LinkDel(a.hv.link(tt.port)))
			if tt.what == mendedFabric {
				a.await(t, mendedFabric, 0, "a port of the fabric is gone")
			}
			tt.wires(a)
			a.await(t, tt.what, 1, "made anew")
			a.whole(t)
			a.rules(t, want)
			after, err := a.dev.Counters(t.Context(), []hwabstraction.RuleID{id})
			a.must(err)
			if after[id].Packets <= before[id].Packets {
				t.Errorf("the delivery counts %d packets, and had counted %d before", after[id].Packets, before[id].Packets)
			}
			a.dev.audit()
			if n := a.dev.Mended(); n[tt.what] != 1 || n[mendedProgram] != 0 {
				t.Errorf("mended %v, want one %s\n%s", n, tt.what, a.log)
			}
		})
	}
}

// rules waits until the device has these: its routes follow a port that is back.
func (a *audited) rules(t *testing.T, want []hwabstraction.RuleStatus) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		got, err := a.dev.Rules(t.Context())
		a.must(err)
		diff := cmp.Diff(byID(want), byID(got), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
		if diff == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("rules (-before +after):\n%s", diff)
		}
	}
}

func byID(rules []hwabstraction.RuleStatus) map[string]hwabstraction.RuleStatus {
	out := map[string]hwabstraction.RuleStatus{}
	for _, r := range rules {
		out[r.Rule.ID().String()] = r
	}
	return out
}

// connectVM connects the VM again; it has a new port as well.
func connectVM(a *audited) { a.connectVM(0) }

// connectFabric connects the spine again.
func connectFabric(a *audited) { a.connectFabric(0) }
