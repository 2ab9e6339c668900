package faults

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/hwabstraction/detect"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// refusedHere asks for a move to a hypervisor that has no room. It must be
// refused there with the status, and change nothing where the VM is.
func refusedHere(w *world, status mobility.Status) {
	w.t.Helper()
	f := w.talk()
	m := w.plan()
	before := w.rules(m.from)
	const refused = `dpmip_mgmt_messages_total{kind="prepare_destination",result="refused"}`
	was := w.metrics(topology.Mgmt)[refused]
	got, err := m.ask(2 * time.Second)
	if err == nil && got.State == "ready" {
		w.t.Fatalf("%s has no room, and the move to it is ready", m.to)
	}
	if now := w.metrics(topology.Mgmt)[refused]; now <= was {
		w.t.Errorf("the refusal was not counted: %v, %v", got, err)
	}
	w.eventually("the status on record", func() string {
		moves, err := w.mgmt().ListMoves(w.ctx, connect.NewRequest(&v1.ListMovesRequest{Vm: m.id}))
		if err != nil {
			return err.Error()
		}
		said := fmt.Sprint(moves.Msg.Moves)
		if !strings.Contains(said, fmt.Sprint(uint8(status))) && !strings.Contains(said, status.String()) {
			return fmt.Sprintf("no %v in %s", status, said)
		}
		return ""
	})
	f.more("the move was refused")
	if err := m.abort(5 * time.Second); err != nil && connect.CodeOf(err) != connect.CodePermissionDenied && connect.CodeOf(err) != connect.CodeNotFound && connect.CodeOf(err) != connect.CodeFailedPrecondition {
		w.t.Errorf("abort of the refused move: %v", err)
	}
	w.eventually("the source as it was", func() string {
		if now := w.rules(m.from); !slices.Equal(w.current(m.from, now), w.current(m.from, before)) {
			return strings.Join(now, "\n")
		}
		return ""
	})
	if b := w.binding(m.id); b.Hypervisor != m.from {
		w.t.Errorf("after the refusal the binding is %v", b)
	}
	f.more("after the refused move")
	f.whole()
}

// tinyRegion gives the configuration lines of a region whose list has room for
// few VMs: the journal takes the rest of the least region.
func tinyRegion() string {
	const size = 1 << 20
	routes := 1
	for detect.JournalSize(routes+1) < size-3*4096 {
		routes++
	}
	return fmt.Sprintf("size = %d\nroutes = %d\n", size, routes)
}

// TestFullBindingUpdateList: a region without room for one more VM.
func TestFullBindingUpdateList(t *testing.T) {
	s := scenario.Settings{Extra: map[string]string{topology.HVB: tinyRegion()}}
	alone(t, s, allowUnknown, func(w *world) {
		attached := 0
		full := false
		for i := range 300 {
			_, err := w.agent(topology.HVB).AttachVM(w.ctx, connect.NewRequest(&v1.AttachVMRequest{Vm: fmt.Sprintf("filler%d@dc1.example", i), Port: "vm2",
				Mac: fmt.Sprintf("52:54:00:01:%02x:%02x", i/256, i%256), Addresses: []string{fmt.Sprintf("2001:db8:b:1::1:%x", i)}, WaitNs: int64(5 * time.Second)}))
			if err == nil {
				attached++
				continue
			}
			if connect.CodeOf(err) != connect.CodeResourceExhausted {
				t.Fatalf("VM %d: %v, want resource_exhausted", i, err)
			}
			full = true
			break
		}
		if !full || attached == 0 {
			t.Fatalf("the region took %d VMs, full: %v", attached, full)
		}
		t.Logf("the region had room for %d more VMs; %v cells used", attached, w.metrics(topology.HVB)["dpmip_agent_bul_cells_used"])
		refusedHere(w, mobility.StatusResources)
		// Room again: the same move goes.
		for i := range attached {
			_, err := w.agent(topology.HVB).DetachVM(w.ctx, connect.NewRequest(&v1.DetachVMRequest{Vm: fmt.Sprintf("filler%d@dc1.example", i), WaitNs: int64(5 * time.Second)}))
			w.must(err)
		}
		f := w.talk()
		w.plan().prepare().finish()
		f.whole()
	})
}

func allowUnknown(w *world) {
	w.edit(w.dir(topology.Mgmt)+"/inventory.toml", "allow_unknown_vms = false", "allow_unknown_vms = true")
	w.restart(topology.Mgmt)
}

// TestFullRuleTable: the destination's device has no room for the move's rules.
func TestFullRuleTable(t *testing.T) {
	alone(t, scenario.Settings{}, func(w *world) { tableOf(w, topology.HVB, 8) }, func(w *world) {
		refusedHere(w, mobility.StatusResources)
		if s, said := w.get(topology.HVB, "/healthz"); s != 200 {
			t.Errorf("the agent that refused is not well: %d %s", s, said)
		}
	})
}

// tableOf makes a node's device a small one, before it has any rules.
func tableOf(w *world, node string, rules int) {
	w.t.Helper()
	w.kill(node)
	w.edit(w.config(node), "[device]\n", fmt.Sprintf("[device]\nmax_rules = %d\n", rules))
	pins := filepath.Join(w.dir(node), "bpf")
	entries, err := os.ReadDir(pins)
	w.must(err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".debug") { // those are the file system's own
			w.must(os.RemoveAll(filepath.Join(pins, e.Name())))
		}
	}
	w.must(os.Remove(filepath.Join(w.dir(node), "region")))
	w.start(node)
}

// TestFullHold: more arrives during the hold than its bound covers. What does
// not fit is dropped and counted, one by one; the rest is delivered in order.
func TestFullHold(t *testing.T) {
	s := scenario.Settings{Extra: map[string]string{topology.HVB: "[hold]\npackets = 16\n"}}
	alone(t, s, nil, func(w *world) {
		f := w.talkTo(mover, 500, 0)
		m := w.plan().prepare()
		was := w.drops(m.to)["hold_full"]
		m.release()
		m.leave()
		w.pass(300 * time.Millisecond)
		m.arrive()
		m.activate(10 * time.Second)
		m.confirmed()
		f.more("after the hold")
		f.stop()
		var lost, wrong uint64
		for _, s := range f.streams {
			r := s.Whole()
			lost += r.AToB.Lost
			wrong += r.AToB.Duplicated + r.AToB.Reordered + r.BToA.Lost + r.BToA.Duplicated + r.BToA.Reordered
		}
		counted := w.drops(m.to)["hold_full"] - was
		if lost == 0 || counted != lost || wrong != 0 {
			t.Errorf("the endpoints lost %d packets in the hold (%d otherwise wrong), hold_full counted %d: want the same, and some", lost, wrong, counted)
		}
		t.Logf("%d packets did not fit and were counted", lost)
	})
}

func (w *world) drops(node string) map[string]uint64 {
	w.t.Helper()
	res, err := w.agent(node).ListDrops(w.ctx, connect.NewRequest(&v1.ListDropsRequest{}))
	w.must(err)
	return res.Msg.Drops
}

// TestFullDisk: the management node's disk is full. It refuses what it cannot
// keep, goes on with the rest, and recovers by itself; what it acknowledged is
// there after a kill.
func TestFullDisk(t *testing.T) {
	alone(t, scenario.Settings{}, allowUnknown, func(w *world) {
		dir := filepath.Join(w.dir(topology.Mgmt), "state")
		defer w.smallDisk(dir)()
		f := w.talk()
		v := w.asHypervisor(topology.HVB)
		n := 0
		register := func() (string, mobility.Status) {
			n++
			id := fmt.Sprintf("disk%d@dc1.example", n)
			status, ok := v.ask(w.dc.Lab.Plan.Mgmt.V6, v.request(id, func(m *wire.Message) {
				m.AddAddress(netip.MustParseAddr(fmt.Sprintf("2001:db8:b:1::2:%x", n)))
				m.AddHandoffIndicator(mobility.HandoffNew)
				m.AddLinkLayerID(mobility.MAC{0x52, 0x54, 0, 2, byte(n >> 8), byte(n)})
			}))
			if !ok {
				t.Fatalf("%s was not answered", id)
			}
			return id, status
		}
		var kept []string
		first, status := register()
		if status != mobility.StatusAccepted {
			t.Fatalf("%s: %v", first, status)
		}
		kept = append(kept, first)
		junk := filepath.Join(dir, "junk")
		fill(w, junk)
		refusedID := ""
		for range 2000 {
			id, s := register()
			if s == mobility.StatusResources {
				refusedID = id
				break
			}
			if s != mobility.StatusAccepted {
				t.Fatalf("%s on a full disk: %v, want accepted or 130", id, s)
			}
			kept = append(kept, id)
		}
		if refusedID == "" {
			t.Fatalf("%d registrations went onto a full disk", len(kept))
		}
		if w.metrics(topology.Mgmt)["dpmip_mgmt_store_errors_total"] == 0 {
			t.Error("dpmip_mgmt_store_errors_total is 0 after a failed write")
		}
		f.more("the disk is full")
		w.must(os.Remove(junk))
		if id, s := register(); s != mobility.StatusAccepted {
			t.Errorf("%s with room again: %v", id, s)
		} else {
			kept = append(kept, id)
		}
		w.restart(topology.Mgmt)
		for _, id := range kept {
			if b := w.binding(id); b.Hypervisor != topology.HVB {
				t.Errorf("%s was acknowledged, and is now %v", id, b)
			}
		}
		if b, err := w.mgmt().GetBinding(w.ctx, connect.NewRequest(&v1.GetBindingRequest{Vm: refusedID})); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("%s was refused with 130, and is there: %v, %v", refusedID, b, err)
		}
		w.plan().prepare().finish()
		f.whole()
		t.Logf("%d registrations kept, one refused", len(kept))
	})
}

// smallDisk puts the management node's state onto a file system of its own.
func (w *world) smallDisk(dir string) (remove func()) {
	w.t.Helper()
	w.kill(topology.Mgmt)
	old := dir + ".old"
	w.must(os.Rename(dir, old))
	w.must(os.Mkdir(dir, 0o700))
	w.must(unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700"))
	w.must(exec.Command("cp", "-a", old+"/.", dir).Run())
	w.start(topology.Mgmt)
	return func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			w.t.Error(err)
		}
	}
}

// fill writes a file until the file system has no room.
func fill(w *world, path string) {
	w.t.Helper()
	f, err := os.Create(path)
	w.must(err)
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			w.t.Fatal(err)
		}
		if w.ctx.Err() != nil {
			w.t.Fatal(context.Cause(w.ctx))
		}
	}
}
