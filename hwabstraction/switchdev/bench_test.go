package switchdev

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// bench is a device over a slow path in memory and a table in memory.
type bench struct {
	*testing.T
	*diary
	chaos  *haltest.Chaos
	table  *fakeTable
	kernel *fakeKernel
	dev    *Device
	skipHW bool
	log    bytes.Buffer // of the device; read at rest
}

// run runs f on a new bench, with a clock of its own.
func run(t *testing.T, skipHW bool, f func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := around()
		b := &bench{T: t, diary: &diary{}, skipHW: skipHW, chaos: haltest.NewChaos(haltest.Plan{Ports: []string{"fab0", "vm0", "vm1"}})}
		b.table = newTable(b.diary, 1, 7, 8)
		b.kernel = &fakeKernel{
			ports: map[string]ways.Port{"fab0": s.uplinks[0], "vm0": s.ports["vm0"]}, hops: s.hops, exits: s.exits,
			changed: make(chan struct{}, 1),
		}
		b.open()
		defer func() { b.dev.Close() }()
		f(b)
	})
}

// open opens the device, as a process does.
func (b *bench) open() {
	b.Helper()
	dev, err := Open(slowPath{b.chaos, b.diary}, Config{
		Fabric: []string{"fab0"}, Table: b.table, Kernel: b.kernel, Eswitch: b.kernel.Eswitch, SkipHW: b.skipHW,
		Log: slog.New(slog.NewTextHandler(&b.log, nil)),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.dev = dev
	b.rest()
}

// rest lets everything happen that can without time passing, and forgets what
// was noted.
func (b *bench) rest() string {
	b.Helper()
	synctest.Wait()
	return b.read()
}

// pass lets time pass, and what it brings happen.
func (b *bench) pass(d time.Duration) string {
	b.Helper()
	time.Sleep(d)
	return b.rest()
}

func (b *bench) put(rules ...hwabstraction.Rule) {
	b.Helper()
	var changes []hwabstraction.Change
	for _, r := range rules {
		changes = append(changes, hwabstraction.Put(r))
	}
	for _, r := range b.dev.Apply(b.Context(), changes) {
		if r.Err != nil {
			b.Fatal(r.Err)
		}
	}
	b.rest()
}

func (b *bench) do(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// packet is one that comes from the fabric, to an IPv4 address.
func (b *bench) packet(to netip.Addr) {
	b.Helper()
	f := make([]byte, 14+20+8)
	f[0], f[6] = 2, 2
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	h := f[14:]
	h[0], h[8], h[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(h[2:], 28)
	copy(h[12:], []byte{198, 51, 100, 9})
	copy(h[16:], to.AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(h[24:], 8)
	b.chaos.Send("fab0", f)
}

// counted has the filters of IPv4 rules count.
func (b *bench) counted(packets, bytes, inHardware uint64) {
	b.table.change(func(filters map[place]flower.Status) {
		for at, s := range filters {
			if at.priority == rulePriority+1 {
				s.Packets, s.Bytes, s.HWPackets = packets, bytes, inHardware
				filters[at] = s
			}
		}
	})
}

func (b *bench) expect(got, want string) {
	b.Helper()
	want = strings.Join(strings.Fields(strings.ReplaceAll(want, " ", "_")), "\n")
	if diff := cmp.Diff(strings.ReplaceAll(want, "_", " "), got); diff != "" {
		b.Fatalf("what happened (-want +got):\n%s", diff)
	}
}

func (b *bench) rung() string {
	b.Helper()
	r, err := b.dev.Tiers(b.Context())
	b.do(err)
	for name := range r.Rungs {
		return name
	}
	return ""
}

func (b *bench) placement(id hwabstraction.RuleID) hwabstraction.Placement {
	b.Helper()
	rules, err := b.dev.Rules(b.Context())
	b.do(err)
	for _, r := range rules {
		if r.Rule.ID() == id {
			return r.Placement
		}
	}
	return hwabstraction.PlacementNone
}
