package agent

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/offload"
)

// node is what the Core needs of a registration.Node.
type node interface {
	Receive(time.Time, registration.Inbound, []registration.Effect) []registration.Effect
	Submit(time.Time, registration.Token, netip.Addr, registration.Request, []registration.Effect) []registration.Effect
	Cancel(registration.Token)
	Answer(time.Time, registration.Handle, registration.Reply, []registration.Effect) []registration.Effect
	Unreachable(time.Time, netip.Addr, []registration.Effect) []registration.Effect
	Watch(time.Time, netip.Addr, []registration.Effect) []registration.Effect
	Tick(time.Time, []registration.Effect) []registration.Effect
	Next() (time.Time, bool)
	Restore([]registration.Order)
	Offset() registration.Offset
}

// Core decides for one hypervisor. It is for one goroutine. Between two calls
// of Step every effect of the first has been carried out or handed on.
type Core struct {
	cfg    Config
	node   node
	addrs  *addresses
	vms    map[mobility.VMID]*vm
	tokens map[registration.Token]*vm
	token  registration.Token
	waits  map[Ref]func(Result)
	ref    Ref
	timers timers
	sample *timer              // counters of moved addresses
	mgmt   int                 // index of the management node in use
	silent map[netip.Addr]bool // management nodes that do not answer heartbeats

	// Valid during Step only.
	now time.Time
	out []Effect
}

// vm is one VM: what is durable, and what is going on.
type vm struct {
	Record
	busy     bool     // a job runs
	queue    []func() // jobs that wait for it
	token    registration.Token
	kind     submission
	next     *timer       // refresh or retry
	poll     *timer       // counters
	spent    *timer       // the earliest end of a quarantine
	held     []netip.Addr // accounted addresses
	waiting  []waiter
	drains   map[netip.Addr]*drain
	asking   []netip.Addr // in the open question "may I"
	problem  string       // the last refusal, for people
	reported map[mobility.Epoch]Figures
	figures  figures
	samples  map[netip.Addr]sampled
	claimed  mobility.Epoch // see upTo
	unread   mobility.Epoch // the redirect whose flows are still to be loaded; 0 = none
}

// NewCore makes a Core. The Role of the registration is set here.
func NewCore(cfg Config) (*Core, error) {
	cfg.Registration.Role = registration.RoleHypervisor
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n, err := registration.NewNode(cfg.Registration)
	if err != nil {
		return nil, err
	}
	return newCore(cfg, n), nil
}

func newCore(cfg Config, n node) *Core {
	cfg.setDefaults()
	return &Core{
		cfg: cfg, node: n, addrs: newAddresses(&cfg),
		vms:    make(map[mobility.VMID]*vm),
		tokens: make(map[registration.Token]*vm),
		waits:  make(map[Ref]func(Result)),
		silent: make(map[netip.Addr]bool),
	}
}

// Step takes one event and appends what is to be done.
func (c *Core) Step(now time.Time, e Event, out []Effect) []Effect {
	c.now, c.out = now, out
	switch e := e.(type) {
	case Inbound:
		c.handle(c.node.Receive(now, e.Inbound, nil))
	case Unreachable:
		c.handle(c.node.Unreachable(now, e.To, nil))
	case Result:
		if then := c.waits[e.Ref]; then != nil {
			delete(c.waits, e.Ref)
			then(e)
		}
	case Tick:
		c.handle(c.node.Tick(now, nil))
		for t := c.timers.due(now); t != nil; t = c.timers.due(now) {
			t.fire()
		}
	case Attach:
		c.attach(e)
	case Release:
		c.release(e)
	case Activate:
		c.activate(e)
	case Detach:
		c.detach(e)
	}
	out, c.out = c.out, nil
	return out
}

// Next gives the next moment at which a Tick has work.
func (c *Core) Next() (time.Time, bool) {
	at, ok := c.node.Next()
	if t, have := c.timers.next(); have && (!ok || t.Before(at)) {
		return t, true
	}
	return at, ok
}

// handle carries on what the registration machine wants.
func (c *Core) handle(effects []registration.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			c.emit(Send{e})
		case registration.Ask:
			c.asked(e)
		case registration.Replied:
			c.replied(e)
		case registration.Unanswered:
			c.unanswered(e)
		case registration.PeerUp:
			delete(c.silent, e.Peer)
			c.emit(Note{Level: LevelInfo, Text: "management node " + e.Peer.String() + " answers heartbeats"})
			if e.Restarted {
				c.registerAll()
			}
		case registration.PeerDown:
			c.silent[e.Peer] = true
			c.emit(Note{Level: LevelWarn, Text: "management node " + e.Peer.String() + " does not answer heartbeats; forwarding stays as it is"})
		case registration.RegisterAgain:
			c.registerAll()
		case registration.Count:
			c.count(e.Name)
		case registration.Revoked:
			c.emit(Note{Level: LevelWarn, VM: e.VM, Text: "the management node revoked the binding"})
		}
	}
}

func (c *Core) emit(e Effect) { c.out = append(c.out, e) }

func (c *Core) count(name string) { c.emit(Count{name}) }

// await names an effect and says what its Result leads to.
func (c *Core) await(then func(Result)) Ref {
	c.ref++
	c.waits[c.ref] = then
	return c.ref
}

// do runs a job of a VM after those before it; the job calls c.done once.
func (c *Core) do(v *vm, job func()) {
	if v.busy {
		v.queue = append(v.queue, job)
		return
	}
	v.busy = true
	job()
}

// done ends the running job. A VM of which nothing is left is forgotten.
func (c *Core) done(v *vm) {
	v.busy = false
	if len(v.queue) > 0 {
		job := v.queue[0]
		v.queue = v.queue[1:]
		c.do(v, job)
		return
	}
	c.schedule(v)
	if v.Empty() && v.token == 0 {
		c.forget(v)
	}
}

// persist puts the record as it is now.
func (c *Core) persist(v *vm, then func(error)) {
	v.trim()
	c.emit(Persist{Record: v.Clone(), Ref: c.await(func(r Result) { then(r.Err) })})
}

// keep puts the record where nothing is acknowledged by it; a failure is told.
func (c *Core) keep(v *vm) {
	c.persist(v, func(err error) {
		if err != nil {
			c.count("persist_failed")
			c.emit(Note{Level: LevelWarn, VM: v.VM, Text: "record not kept", Err: err})
		}
	})
}

// binding is what the record means here: what is guarded and not at home
// reaches the VM by those who redirect it only.
func (c *Core) binding(v *vm) offload.Binding {
	b := v.Binding(c.cfg.PathMTU)
	if d, g := b.Deliver, v.group(); d != nil && g.Guarded {
		away := func(a netip.Addr) bool {
			// Its own redirect must be overridden by the activation, or it would
			// send back what comes from the source.
			own := v.Leaving != nil && v.Leaving.hasPair(a)
			return slices.Contains(g.Olds, a) && !c.addrs.home(a) && !own
		}
		for _, a := range d.Addresses {
			if away(a) {
				d.Sources = append(d.Sources, a)
			}
		}
		d.Addresses = slices.DeleteFunc(d.Addresses, away)
	}
	return b
}

// apply tells the device what the record means.
func (c *Core) apply(v *vm, then func(error)) {
	c.emit(c.rules(v, then))
}

// verify is apply that does not trust what the device was told before.
func (c *Core) verify(v *vm, then func(error)) {
	a := c.rules(v, then)
	a.Verify = true
	c.emit(a)
}

func (c *Core) rules(v *vm, then func(error)) Apply {
	rules := offload.Plan(c.binding(v))
	return Apply{VM: v.VM, UpTo: v.upTo(rules), Rules: rules, Ref: c.await(func(r Result) { then(r.Err) })}
}

// settle applies where nobody waits for it.
func (c *Core) settle(v *vm) {
	c.apply(v, func(err error) {
		if err != nil {
			c.count("apply_failed")
			v.problem = err.Error()
			c.emit(Note{Level: LevelWarn, VM: v.VM, Text: "rules not all installed", Err: err})
		}
	})
}

func (c *Core) flip(op SwitchOp, s hwabstraction.Stamp, then func(Result)) {
	c.emit(Switch{Op: op, Stamp: s, Ref: c.await(then)})
}

// forget drops a VM.
func (c *Core) forget(v *vm) {
	if c.vms[v.VM] != v {
		return
	}
	for _, t := range []**timer{&v.next, &v.poll, &v.spent} {
		c.timers.stop(t)
	}
	delete(c.vms, v.VM)
	c.emit(Persist{Record: Record{VM: v.VM}, Delete: true})
	c.emit(Apply{VM: v.VM, UpTo: v.upTo(nil)})
}

// get finds a VM, or makes a new one.
func (c *Core) get(id mobility.VMID) *vm {
	v := c.vms[id]
	if v == nil {
		v = &vm{Record: Record{VM: id}}
		c.vms[id] = v
	}
	return v
}

// sorted gives all VMs in a stable order.
func (c *Core) sorted() []*vm {
	out := make([]*vm, 0, len(c.vms))
	for _, v := range c.vms {
		out = append(out, v)
	}
	sortVMs(out)
	return out
}

func sortVMs(list []*vm) {
	slices.SortFunc(list, func(a, b *vm) int {
		return cmp.Or(cmp.Compare(a.VM.Bytes, b.VM.Bytes), cmp.Compare(a.VM.Subtype, b.VM.Subtype))
	})
}

// upTo gives the stamp up to which the VM's rules are ours to remove: it never
// goes down.
func (v *vm) upTo(rules []hwabstraction.Rule) hwabstraction.Stamp {
	v.claimed = max(v.claimed, v.Known, v.Epoch)
	for _, r := range rules {
		v.claimed = max(v.claimed, mobility.Epoch(r.Stamped().Epoch))
	}
	return offload.Stamp(v.VM, v.claimed)
}

// seen notes an epoch.
func (v *vm) seen(e mobility.Epoch) { v.Known = max(v.Known, e) }

// statusOf is the status that a failure is answered with.
func statusOf(err error, otherwise mobility.Status) mobility.Status {
	var refusal *mobility.StatusError
	switch {
	case err == nil:
		return mobility.StatusAccepted
	case errors.As(err, &refusal):
		return refusal.Status
	case errors.Is(err, hwabstraction.ErrTableFull), errors.Is(err, hwabstraction.ErrRegionFull):
		return mobility.StatusResources
	}
	return otherwise
}
