package sim

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/agent/bul"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/offload"
)

// hypervisor is a card: the agent's process, NIC memory, disk and tables.
type hypervisor struct {
	process
	skew     time.Duration // of its clock
	core     *agent.Core
	device   *haltest.Chaos
	hands    *agent.Hands
	dark     bool                           // after a reboot, until the card has taken what the agent knew: nothing is forwarded
	told     bool                           // the agent that lives now has told the card what it knew
	memory   map[mobility.VMID]bul.Entry    // NIC memory
	disk     map[mobility.VMID]agent.Record // what a reboot leaves
	restarts uint32
	queue    []deviceJob
	working  bool
	resync   alarm
	waits    map[agent.CommandID]func(a agent.Answer, ok bool)
	last     agent.CommandID
	proofs   prover
	before   map[mobility.VMID]registration.Inbound // of a sabotage
}

// deviceJob is something for the worker that owns the device.
type deviceJob struct {
	effect agent.Effect
	note   *agent.Switch
}

func newHypervisor(w *World, name string, skew time.Duration) *hypervisor {
	h := &hypervisor{skew: skew, memory: map[mobility.VMID]bul.Entry{}, disk: map[mobility.VMID]agent.Record{}}
	h.process = process{w: w, name: name, boot: h.restart, died: h.crashed}
	h.device = haltest.NewChaos(h.plan())
	h.proofs = prover{owner: &h.process, can: []string{"send", "catch"}, take: h.begin}
	return h
}

func (h *hypervisor) local() time.Time { return h.w.now.Add(h.skew) }

func (h *hypervisor) plan() haltest.Plan {
	return haltest.Plan{Now: h.local, Seed: h.w.rng.Uint64()}
}

func (h *hypervisor) config() agent.Config {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], h.w.rng.Uint64())
	return agent.Config{
		Registration: registration.Config{
			Self: locator(h.name), Management: []netip.Addr{locator(managementName)},
			FirstRetry: firstRetry, Retry: firstRetry, MaxRetry: maxRetry, Heartbeat: heartbeat,
			RestartCount: h.restarts, Seed: h.w.rng.Uint64(),
		},
		Locator4: locator4(h.name), Ranges: ranges(h.name), Pools: pools(h.name), PortTemplate: "p-{vm}",
		Lifetime: bindingLifetime, Quarantine: quarantine, DrainQuiet: drainQuiet, DrainRetry: drainRetry,
		RefusedRetry: refusedRetry, TrafficInterval: h.sampling(), Spread: time.Second, Capabilities: h.device.Capabilities(), Seed: seed,
	}
}

func (h *hypervisor) restart(hard bool) {
	h.restarts++
	h.device = h.device.Reopen()
	h.queue, h.working, h.told = nil, false, false
	h.waits = map[agent.CommandID]func(agent.Answer, bool){}
	core, err := agent.NewCore(h.config())
	if err != nil {
		h.w.violate("agent %s does not start: %v", h.name, err)
		return
	}
	r := offload.NewReconciler(offload.ReconcilerConfig{Device: h.device, Now: h.local, Random: h.w.rng.Float64, Resync: 2 * time.Minute})
	_, _ = r.Adopt(context.Background())
	h.core, h.hands = core, &agent.Hands{Device: h.device, Flows: noFlows{}, Reconciler: r}
	h.run(core.Start(h.local(), h.records(), hard, nil))
	h.proofs.connect()
}

// records are what the new process finds in NIC memory.
func (h *hypervisor) records() []agent.Record {
	var out []agent.Record
	for _, vm := range sortedVMs(h.memory) {
		e := h.memory[vm]
		r, err := agent.FromEntry(&e)
		if err != nil {
			h.w.violate("agent %s cannot read its entry of %s: %v", h.name, vm, err)
			continue
		}
		out = append(out, r)
	}
	return out
}

// crashed: kill -9 leaves card and memory, a reboot leaves the disk.
func (h *hypervisor) crashed(hard bool) {
	h.proofs.hungUp()
	waits := h.waits
	h.waits, h.queue = nil, nil
	for _, id := range sortedKeys(waits) {
		f := waits[id]
		h.w.after(time.Millisecond, func() { f(agent.Answer{}, false) })
	}
	if !hard {
		return
	}
	h.w.hazardAll("card " + h.name + " was rebooted")
	for _, g := range h.w.guests { // what it forgets it is told again, after a while
		g.excused[h.name] = true
	}
	h.dark, h.w.dirty = true, true
	h.device = haltest.NewChaos(h.plan())
	h.memory = map[mobility.VMID]bul.Entry{}
	for _, vm := range sortedVMs(h.disk) {
		_ = h.remember(throughJSON(h.w, h.disk[vm]))
	}
}

func throughJSON(w *World, r agent.Record) agent.Record {
	var out agent.Record
	b, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		w.violate("a record does not survive the disk: %v", err)
	}
	return out
}

func (h *hypervisor) remember(r agent.Record) error {
	e, err := r.ToEntry()
	if err == nil {
		h.memory[r.VM] = e
	}
	return err
}

func (h *hypervisor) step(e agent.Event) {
	if h.alive {
		h.run(h.core.Step(h.local(), e, nil))
	}
}

func (h *hypervisor) receive(in registration.Inbound) {
	for _, x := range h.w.sabotage.inbound(h, in) {
		h.stepInbound(x)
	}
}

func (h *hypervisor) stepInbound(in registration.Inbound) { h.step(agent.Inbound{Inbound: in}) }

func (h *hypervisor) unreachable(to netip.Addr) { h.step(agent.Unreachable{To: to}) }

// run is the agent's loop: what it does itself is stepped at once, a Switch
// ahead of what waits; the rest goes to the device's worker.
func (h *hypervisor) run(effects []agent.Effect) {
	for len(effects) > 0 {
		if h.burn() {
			return
		}
		e := effects[0]
		effects = effects[1:]
		switch e := e.(type) {
		case agent.Persist:
			if err := h.persist(e); e.Ref != 0 {
				effects = append(effects, h.core.Step(h.local(), agent.Result{Ref: e.Ref, Err: err}, nil)...)
			}
		case agent.Switch:
			if e.Op == agent.OpDisarm {
				h.hand(deviceJob{effect: e})
				continue
			}
			effects = append(h.core.Step(h.local(), h.flip(e), nil), effects...)
		default:
			h.do(e)
		}
	}
	if at, ok := h.core.Next(); ok {
		h.alarm.set(h.w, at.Add(-h.skew), h.life, func() { h.step(agent.Tick{}) })
	}
}

// flip switches a group beside the worker.
func (h *hypervisor) flip(e agent.Switch) agent.Result {
	if h.w.sabotage.lateArm && e.Op == agent.OpArm && !h.committed(e.Stamp) {
		return agent.Result{Ref: e.Ref, At: h.local()}
	}
	r := h.hands.Switch(e)
	r.At, r.Took = h.local(), time.Microsecond
	h.hand(deviceJob{note: &e})
	if r.Err == nil && e.Op == agent.OpActivate {
		h.w.activated(e.Stamp)
	}
	h.w.dirty = true
	h.w.trace("%s: %s %s: %v", h.name, e.Op, e.Stamp, r.Err)
	return r
}

func (h *hypervisor) do(e agent.Effect) {
	switch e := e.(type) {
	case agent.Send:
		h.w.net.send(h.name, e.Send)
	case agent.Answer:
		if f := h.waits[e.ID]; f != nil {
			delete(h.waits, e.ID)
			h.w.after(50*time.Microsecond, func() { f(e, true) })
		}
	case agent.Report:
		h.report(e)
	case agent.Note:
		h.w.trace("%s: %s: %s: %v", h.name, e.VM, e.Text, e.Err)
	case agent.Traffic:
		h.traffic(e)
	case agent.Count, agent.Announce:
	case agent.Apply:
		h.w.noteDeliveries(e.Rules)
		e.Rules = h.w.sabotage.rules(e.Rules)
		h.hand(deviceJob{effect: e})
	default:
		h.hand(deviceJob{effect: e})
	}
}

func (h *hypervisor) persist(e agent.Persist) error {
	vm := e.Record.VM
	h.w.dirty = true
	if e.Delete {
		delete(h.memory, vm)
		delete(h.disk, vm)
		return nil
	}
	rec := e.Record
	if err := h.remember(rec); err != nil {
		h.w.violate("agent %s cannot keep its record of %s: %v", h.name, vm, err)
		return err
	}
	h.disk[vm] = rec
	h.w.acknowledged(h.name, &rec)
	return nil
}

// hand gives the worker a job; it takes them in order, and takes its time.
func (h *hypervisor) hand(j deviceJob) {
	h.queue = append(h.queue, j)
	if !h.working {
		h.working = true
		h.later(h.w.between(20*time.Microsecond, 2*time.Millisecond), h.work)
	}
}

func (h *hypervisor) work() {
	if h.burn() || len(h.queue) == 0 {
		h.working = false
		return
	}
	j := h.queue[0]
	h.queue = h.queue[1:]
	var results []agent.Result
	if j.note != nil {
		h.hands.Note(*j.note)
	} else {
		h.w.dirty = h.w.dirty || !reads(j.effect)
		h.w.trace("%s: device %s", h.name, effectName(j.effect))
		results = h.hands.Do(context.Background(), []agent.Effect{j.effect})
	}
	if _, ok := j.effect.(agent.Adopt); ok {
		h.told = true
	}
	h.lighten()
	h.watchDevice()
	h.working = len(h.queue) > 0
	if h.working {
		h.later(h.w.between(20*time.Microsecond, 2*time.Millisecond), h.work)
	}
	for _, r := range results {
		h.step(r)
	}
}

// reads tells whether a device effect changes nothing.
func reads(e agent.Effect) bool {
	switch e.(type) {
	case agent.ReadCounters, agent.ReadGroup, agent.SnapshotFlows, agent.HoldLimit:
		return true
	}
	return false
}

// lighten lets a card that was rebooted forward again: the agent has told it
// everything it knew, and it has taken that. Before, an address from elsewhere
// that host routes lead to the card would go back where it came from.
func (h *hypervisor) lighten() {
	if h.told && len(h.hands.Reconciler.Unsettled()) == 0 {
		h.dark = false
	}
}

// watchDevice lets the reconciler try again and resynchronise.
func (h *hypervisor) watchDevice() {
	h.resync.set(h.w, h.hands.Reconciler.Next().Add(-h.skew), h.life, func() {
		if h.alive {
			h.hands.Reconciler.Sync(context.Background())
			h.w.dirty = true
			h.lighten()
			h.watchDevice()
		}
	})
}

// sampling is how often traffic is told, where it matters.
func (h *hypervisor) sampling() time.Duration {
	if len(h.w.schedule.Room) == 0 {
		return 0
	}
	return sampleInterval
}

// traffic tells of packets that the model does not carry: some number.
func (h *hypervisor) traffic(e agent.Traffic) {
	t := mgmt.Traffic{Hypervisor: h.name}
	for _, s := range e.Samples {
		t.Samples = append(t.Samples, mgmt.TrafficSample{VM: s.VM, Addr: s.Addr, Packets: h.w.rng.Uint64N(1000), Over: s.Over})
	}
	h.w.mgmt.step(t)
}

func (h *hypervisor) report(e agent.Report) {
	h.w.mgmt.command(func(id mgmt.CommandID) mgmt.Event {
		return mgmt.Report{ID: id, VM: e.VM, Epoch: e.Epoch, Holder: mgmt.HolderReport{Hypervisor: h.name, Role: e.Role, HeldPackets: e.Held}}
	}, func(mgmt.Done, bool) {})
}

// command gives the agent a command; ok is false where it was dead or died
// before it answered.
func (h *hypervisor) command(make func(agent.CommandID) agent.Event, f func(a agent.Answer, ok bool)) {
	if !h.alive {
		h.w.after(time.Millisecond, func() { f(agent.Answer{}, false) })
		return
	}
	h.last++
	h.waits[h.last] = f
	h.step(make(h.last))
}

// record is the durable record of a VM, or nil.
func (h *hypervisor) record(vm mobility.VMID) *agent.Record {
	e, ok := h.memory[vm]
	if !ok {
		return nil
	}
	r, err := agent.FromEntry(&e)
	if err != nil {
		return nil
	}
	return &r
}

// committed tells whether the redirect of a stamp belongs to a VM that is gone.
func (h *hypervisor) committed(s hwabstraction.Stamp) bool {
	for _, g := range h.w.guests {
		if r := h.record(g.id); offload.Owner(g.id) == s.Owner && r != nil && r.Leaving != nil {
			return r.Serving == nil || h.w.binding(g) != nil && h.w.binding(g).Hypervisor != h.name
		}
	}
	return true
}

// noFlows is a FlowSource of a card that has seen nothing.
type noFlows struct{}

func (noFlows) Flows(context.Context, []netip.Addr) ([]hwabstraction.Flow, error) { return nil, nil }
