package agent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/offload"
)

var (
	addr   = netip.MustParseAddr
	prefix = netip.MustParsePrefix

	locM, locA, locB, locC = addr("2001:db8:ff::1"), addr("2001:db8:ff::a"), addr("2001:db8:ff::b"), addr("2001:db8:ff::c")
	locA4                  = addr("192.0.2.10")

	vm1  = mobility.NAI("vm1@lab")
	mac1 = mobility.MAC{2, 0, 0, 0, 0, 1}

	old6, old4 = addr("2001:db8:a::1"), addr("10.0.1.1") // at home at A
	away6      = addr("2001:db8:b::1")                   // at home at B
	d6         = addr("2001:db8:b:d::1")

	hotKeep = mobility.MoveOptions{
		Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectTranslated, New: mobility.PolicyRedirect,
	}
)

func renumber(n mobility.NewConnections) mobility.MoveOptions {
	o := hotKeep
	o.Addresses, o.New = mobility.AddressesRenumber, n
	return o
}

// world is one hypervisor, A, with a device in memory, and the management
// node's end of the conversation. Its clock stands still unless told.
type world struct {
	t     *testing.T
	now   time.Time
	cfg   Config
	core  *Core
	dev   *haltest.Chaos
	hands *Hands
	m     *registration.Node // the management node

	kept     map[mobility.VMID]Record // what is durable
	full     bool                     // the region is
	crash    func(Effect) bool        // the process dies before this effect
	dead     bool
	replies  map[registration.Token]registration.Reply
	token    registration.Token
	asks     []registration.Ask // Requests of A that M has not answered
	answers  map[CommandID]Answer
	id       CommandID
	counts   map[string]int
	reports  []Report
	traffic  []Traffic
	announce []Announce
	cut      bool // A and M do not hear each other
	trace    []Effect
}

func newWorld(t *testing.T, change func(*Config, *haltest.Plan)) *world {
	t.Helper()
	w := &world{t: t, now: time.Unix(1_800_000_000, 0), kept: map[mobility.VMID]Record{}}
	w.cfg = Config{
		Registration: registration.Config{Self: locA, Management: []netip.Addr{locM}, Heartbeat: -1, Seed: 1},
		Locator4:     locA4,
		Ranges:       []netip.Prefix{prefix("2001:db8:a::/64"), prefix("10.0.1.0/24")},
		Pools:        []netip.Prefix{prefix("2001:db8:a:d::/64"), prefix("10.1.1.0/28")},
		PortTemplate: "p-{vm}",
		Lifetime:     time.Hour, Quarantine: time.Minute, DrainQuiet: 30 * time.Second, DrainPoll: 10 * time.Second,
	}
	plan := haltest.Plan{Now: func() time.Time { return w.now }}
	if change != nil {
		change(&w.cfg, &plan)
	}
	w.dev = haltest.NewChaos(plan)
	w.cfg.Capabilities = w.dev.Capabilities()
	m, err := registration.NewNode(registration.Config{Role: registration.RoleManagement, Self: locM, Heartbeat: -1, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	w.m = m
	w.start(false)
	return w
}

// start runs a new process over what is durable and what the device holds.
func (w *world) start(rebooted bool) {
	w.t.Helper()
	core, err := NewCore(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	rec := offload.NewReconciler(offload.ReconcilerConfig{Device: w.dev, Now: func() time.Time { return w.now }, Random: func() float64 { return 0 }})
	if _, err := rec.Adopt(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.core, w.hands, w.dead = core, &Hands{Device: w.dev, Flows: noFlows{}, Reconciler: rec}, false
	w.replies, w.answers, w.counts = map[registration.Token]registration.Reply{}, map[CommandID]Answer{}, map[string]int{}
	w.reports, w.announce, w.trace = nil, nil, nil
	var records []Record
	for _, r := range w.kept {
		records = append(records, r)
	}
	w.run(core.Start(w.now, records, rebooted, nil))
}

// restart kills the process and runs its successor.
func (w *world) restart() {
	w.t.Helper()
	w.now = w.now.Add(time.Millisecond)
	w.dev = w.dev.Reopen()
	w.crash = nil
	w.start(false)
}

// step gives the Core one event and carries out what follows.
func (w *world) step(e Event) {
	w.t.Helper()
	if !w.dead {
		w.run(w.core.Step(w.now, e, nil))
	}
}

// run carries effects out in order; Results are stepped after those before.
func (w *world) run(effects []Effect) {
	w.t.Helper()
	for len(effects) > 0 && !w.dead {
		e := effects[0]
		effects = effects[1:]
		if w.crash != nil && w.crash(e) {
			w.dead = true
			return
		}
		w.trace = append(w.trace, e)
		for _, r := range w.do(e) {
			effects = append(effects, w.core.Step(w.now, r, nil)...)
		}
	}
}

func (w *world) do(e Effect) []Result {
	w.t.Helper()
	switch e := e.(type) {
	case Send:
		if !w.cut {
			w.toM(e.Payload)
		}
	case Persist:
		var err error
		if e.Delete {
			delete(w.kept, e.Record.VM)
		} else if w.full {
			err = hwabstraction.ErrRegionFull
		} else {
			w.kept[e.Record.VM] = w.throughDisk(e.Record)
		}
		if e.Ref != 0 {
			return []Result{{Ref: e.Ref, Err: err}}
		}
	case Answer:
		w.answers[e.ID] = e
	case Report:
		w.reports = append(w.reports, e)
	case Traffic:
		w.traffic = append(w.traffic, e)
	case Announce:
		w.announce = append(w.announce, e)
	case Count:
		w.counts[e.Name]++
	default:
		return w.hands.Do(context.Background(), []Effect{e})
	}
	return nil
}

// throughDisk makes of a record what a later process reads back: both forms
// that a record is kept in are gone through.
func (w *world) throughDisk(r Record) Record {
	w.t.Helper()
	out, err := roundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// toM delivers a message to the management node.
func (w *world) toM(payload []byte) {
	w.t.Helper()
	w.fromM(w.m.Receive(w.now, inbound(w.t, locA, payload), nil))
}

func inbound(t *testing.T, from netip.Addr, payload []byte) registration.Inbound {
	t.Helper()
	m := new(wire.Message)
	if err := m.Parse(payload); err != nil {
		t.Fatalf("message does not parse: %v", err)
	}
	return registration.Inbound{From: from, Message: m, Bytes: payload, Auth: registration.AuthOK}
}

// fromM carries out what the management node's machine wants.
func (w *world) fromM(effects []registration.Effect) {
	w.t.Helper()
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			if !w.cut {
				w.step(Inbound{inbound(w.t, locM, e.Payload)})
			}
		case registration.Ask:
			w.asks = append(w.asks, e)
		case registration.Replied:
			w.replies[e.Token] = e.Reply
		}
	}
}

// ask sends a Request of the management node and returns A's Reply; ok false
// where there was none.
func (w *world) ask(r registration.Request) (registration.Reply, bool) {
	w.t.Helper()
	w.pass(time.Millisecond)
	w.token++
	w.fromM(w.m.Submit(w.now, w.token, locA, r, nil))
	reply, ok := w.replies[w.token]
	w.m.Cancel(w.token)
	return reply, ok
}

// accepted asks, and fails the test unless the Request is accepted.
func (w *world) accepted(what string, r registration.Request) registration.Reply {
	w.t.Helper()
	reply, ok := w.ask(r)
	if !ok || !reply.Status.Accepted() {
		w.t.Fatalf("%s: reply %v (%t), want accepted", what, reply.Status, ok)
	}
	return reply
}

// refused asks, and fails the test unless the Request is refused so.
func (w *world) refused(what string, want mobility.Status, r registration.Request) registration.Reply {
	w.t.Helper()
	reply, ok := w.ask(r)
	if !ok || reply.Status != want {
		w.t.Errorf("%s: reply %v (%t), want %v", what, reply.Status, ok, want)
	}
	return reply
}

// next takes A's oldest Request that the management node has not answered.
func (w *world) next(what string) registration.Ask {
	w.t.Helper()
	if len(w.asks) == 0 {
		w.t.Fatalf("%s: the management node was not asked", what)
	}
	a := w.asks[0]
	w.asks = w.asks[1:]
	return a
}

// reply answers a Request of A.
func (w *world) reply(a registration.Ask, r registration.Reply) {
	w.t.Helper()
	if r.Status.Accepted() && r.Lifetime == 0 {
		r.Lifetime = a.Request.Lifetime
	}
	w.fromM(w.m.Answer(w.now, a.Handle, r, nil))
}

// command gives a command and returns its answer; nil while there is none.
func (w *world) command(make func(CommandID) Event) *Answer {
	w.t.Helper()
	w.id++
	w.step(make(w.id))
	a, ok := w.answers[w.id]
	if !ok {
		return nil
	}
	return &a
}

// pass lets time pass, with every Tick that is due on the way.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for range 10000 {
		at, ok := w.core.Next()
		if !ok || at.After(end) || w.dead {
			break
		}
		if at.After(w.now) {
			w.now = at
		}
		w.step(Tick{})
	}
	w.now = end
	w.step(Tick{})
}

// attached registers vm1 at A.
func (w *world) attached(addrs ...netip.Addr) {
	w.t.Helper()
	w.command(func(id CommandID) Event {
		return Attach{ID: id, VM: vm1, MAC: mac1, Addresses: addrs, Wait: time.Second}
	})
	w.reply(w.next("attach"), registration.Reply{Epoch: 1})
	a := w.answers[w.id]
	if a.Err != nil || a.VM == nil || !a.VM.Registered {
		w.t.Fatalf("attach: %+v", a)
	}
}

// prepareSource is row 5.
func prepareSource(e mobility.Epoch, o mobility.MoveOptions, pairs ...mobility.Pair) registration.Request {
	return registration.Request{
		VM: vm1, MAC: mac1, Handoff: mobility.HandoffMove, Lifetime: 15, Epoch: e, Move: o.WithPhase(mobility.PhasePrepare), Pairs: pairs, CareOf: locB,
	}
}

// redirectTo is row 7.
func redirectTo(e mobility.Epoch, loc netip.Addr, o mobility.MoveOptions, pairs ...mobility.Pair) registration.Request {
	r := prepareSource(e, o, pairs...)
	r.Move, r.CareOf, r.Lifetime = o.WithPhase(mobility.PhaseCommit), loc, 900
	return r
}

// prepareDestination is row 4.
func prepareDestination(e mobility.Epoch, o mobility.MoveOptions, olds ...netip.Addr) registration.Request {
	r := prepareSource(e, o, same(olds...)...)
	r.CareOf, r.Ticket = locB, mobility.Ticket{1}
	return r
}

// ending is a Request with lifetime 0: rows 10 and 12 to 14.
func ending(e mobility.Epoch, p mobility.Phase, olds ...netip.Addr) registration.Request {
	return registration.Request{VM: vm1, Handoff: mobility.HandoffUnknown, Epoch: e, Move: hotKeep.WithPhase(p), Pairs: same(olds...)}
}

func same(olds ...netip.Addr) []mobility.Pair {
	var out []mobility.Pair
	for _, a := range olds {
		out = append(out, mobility.Pair{Old: a, New: a})
	}
	return out
}

// goes checks where a packet to an address would go.
func (w *world) goes(to netip.Addr, act haltest.Act, want netip.Addr) {
	w.t.Helper()
	if d := w.dev.Decide(to); d.Act != act || want.IsValid() && d.To != want {
		w.t.Errorf("packet to %s: %v to %s, want %v to %s", to, d.Act, d.To, act, want)
	}
}

// rules gives the IDs of what the device holds for VMs.
func (w *world) rules() []hwabstraction.RuleID {
	w.t.Helper()
	list, err := w.dev.Rules(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	var out []hwabstraction.RuleID
	for _, r := range list {
		if r.Rule.Stamped().Owner != offload.NodeStamp().Owner {
			out = append(out, r.Rule.ID())
		}
	}
	return out
}

func (w *world) holds(ids ...hwabstraction.RuleID) {
	w.t.Helper()
	got := w.rules()
	for _, id := range ids {
		if !slices.Contains(got, id) {
			w.t.Errorf("the device does not hold %s", id)
		}
	}
	if len(got) != len(ids) {
		w.t.Errorf("the device holds %v, want %v", got, ids)
	}
}

func commandCode(err error) CommandCode {
	var c *CommandError
	if errors.As(err, &c) {
		return c.Code
	}
	return 0
}

// noFlows is a FlowSource with one flow for each address.
type noFlows struct{}

func (noFlows) Flows(_ context.Context, addrs []netip.Addr) ([]hwabstraction.Flow, error) {
	var out []hwabstraction.Flow
	for _, a := range addrs {
		out = append(out, hwabstraction.Flow{Protocol: 6, VM: hwabstraction.Endpoint{Addr: a, Port: 80}, Peer: hwabstraction.Endpoint{Addr: a, Port: 4000}, SeenReply: true})
	}
	return out, nil
}
