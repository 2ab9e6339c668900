package router

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// ErrFull is what a FIB wraps that has no room for a route: the answer is 130.
var ErrFull = errors.New("router: no room")

// Route is one host route that this router holds for a VM's address.
type Route struct {
	Address netip.Addr
	VM      mobility.VMID
	Epoch   mobility.Epoch
	Locator netip.Addr // the serving hypervisor's, of Address's family
	Expires time.Time  // only reported: expiry cuts nothing
	Since   time.Time  // when the kernel had it; zero: not yet
	Err     string     // why it is not in the kernel
}

// Change is what a FIB is asked to make true of one address.
type Change struct {
	Address netip.Addr
	Locator netip.Addr // invalid: withdraw
}

// Config configures a Core.
type Config struct {
	Node      registration.Config // Role is set by NewCore
	MaxRoutes int                 // default 65536; one more answers 130
}

// Core decides. It is used by one goroutine.
type Core struct {
	cfg    Config
	node   *registration.Node
	routes map[netip.Addr]*Route
	jobs   map[uint64]job
	passed map[netip.Addr]time.Time // see Passed
	nextID uint64
	out    []registration.Effect // scratch
}

// job is one Request whose routes are on their way to the kernel.
type job struct {
	handle   registration.Handle
	request  registration.Request
	order    registration.Order
	changes  []Change
	withdraw bool
}

// NewCore returns a Core that knows no routes.
func NewCore(cfg Config) (*Core, error) {
	cfg.Node.Role = registration.RoleRouter
	if cfg.MaxRoutes == 0 {
		cfg.MaxRoutes = 65536
	}
	n, err := registration.NewNode(cfg.Node)
	if err != nil {
		return nil, err
	}
	return &Core{cfg: cfg, node: n, routes: map[netip.Addr]*Route{}, jobs: map[uint64]job{}, passed: map[netip.Addr]time.Time{}}, nil
}

// Event is something that happened: Start, Received, Unreachable, Programmed,
// Moved or Tick.
type Event interface{ event() }

// Start comes first: the management node is watched from now on. Its answers to
// heartbeats tell the offset to its clock, without which no Request would be in
// time.
type Start struct{}

// Received is one message of an allow-listed peer.
type Received struct{ Inbound registration.Inbound }

// Unreachable: the transport saw that nobody listens at Peer.
type Unreachable struct{ Peer netip.Addr }

// Programmed answers a Program effect: one error for each change, nil where
// the kernel now holds (or no longer holds) the route.
type Programmed struct {
	ID   uint64
	Errs []error
}

// Moved tells that the kernel changed a route by itself or by another's hand:
// Err nil where it was put right.
type Moved struct {
	Address netip.Addr
	Err     error
}

// Tick says that time has passed.
type Tick struct{}

func (Start) event()       {}
func (Received) event()    {}
func (Unreachable) event() {}
func (Programmed) event()  {}
func (Moved) event()       {}
func (Tick) event()        {}

// Effect is something to be done, in order: any registration.Effect but Ask
// and Replied, or Program, Persist or Refused.
type Effect any

// Program asks the FIB for changes, one Program after another in their order; its
// outcome comes back as Programmed.
type Program struct {
	ID      uint64
	Changes []Change
}

// Persist asks that the routes be durable (nil Route: forgotten) before any
// later effect of the same step is carried out.
type Persist struct {
	Put    []Route
	Forget []netip.Addr
	Passed Passed
}

// Passed is the newest timestamp that Requests of a management node had. It is
// kept beside the routes: of a route that was withdrawn nothing else tells that an
// older Request, which was under way, came too late.
type Passed struct {
	Sender    netip.Addr
	Timestamp time.Time
}

// Refused tells of a Request that was answered with a refusal, and why: the
// answer on the wire has a status only.
type Refused struct {
	VM     mobility.VMID
	Status mobility.Status
	Reason string
}

// Restore gives back what an earlier process had persisted, and returns the
// changes that make the kernel hold it. Nothing is withdrawn.
func (c *Core) Restore(routes []Route, passed []Passed) []Change {
	for _, p := range passed {
		c.passed[p.Sender] = p.Timestamp
		c.node.Passed(p.Sender, p.Timestamp)
	}
	var chs []Change
	for _, r := range routes {
		r.Since = time.Time{}
		c.routes[r.Address] = &r
		chs = append(chs, Change{Address: r.Address, Locator: r.Locator})
	}
	return chs
}

// Routes lists what is held, by address.
func (c *Core) Routes() []Route {
	out := make([]Route, 0, len(c.routes))
	for _, r := range c.routes {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Route) int { return a.Address.Compare(b.Address) })
	return out
}

// Route tells what is held for one address.
func (c *Core) Route(a netip.Addr) (Route, bool) {
	r, ok := c.routes[a]
	if !ok {
		return Route{}, false
	}
	return *r, true
}

// Limit is how many routes may be held.
func (c *Core) Limit() int { return c.cfg.MaxRoutes }

// Next is when Tick has work next.
func (c *Core) Next() (time.Time, bool) { return c.node.Next() }

// Step takes one event and returns what is to be done about it.
func (c *Core) Step(now time.Time, e Event) []Effect {
	c.out = c.out[:0]
	switch e := e.(type) {
	case Start:
		for _, m := range c.cfg.Node.Management {
			c.out = c.node.Watch(now, m, c.out)
		}
	case Received:
		c.out = c.node.Receive(now, e.Inbound, c.out)
	case Unreachable:
		c.out = c.node.Unreachable(now, e.Peer, c.out)
	case Tick:
		c.out = c.node.Tick(now, c.out)
	case Programmed:
		return c.programmed(now, e)
	case Moved:
		c.moved(now, e)
	}
	return c.effects(now, c.out)
}

// effects answers the Node's questions and passes the rest on.
func (c *Core) effects(now time.Time, in []registration.Effect) []Effect {
	var out []Effect
	for _, e := range in {
		if ask, ok := e.(registration.Ask); ok {
			out = append(out, c.ask(now, ask)...)
			continue
		}
		out = append(out, e)
	}
	return out
}

func (c *Core) ask(now time.Time, a registration.Ask) []Effect {
	j, err := c.plan(a)
	if err != nil {
		refused := Refused{VM: a.Request.VM, Status: err.Status, Reason: err.Error()}
		return append([]Effect{refused}, c.answer(now, a.Handle, registration.Reply{Status: err.Status, Epoch: c.newest(&a.Request)})...)
	}
	c.nextID++
	c.jobs[c.nextID] = *j
	return []Effect{Program{ID: c.nextID, Changes: j.changes}}
}

func (c *Core) answer(now time.Time, h registration.Handle, r registration.Reply) []Effect {
	var out []Effect
	for _, e := range c.node.Answer(now, h, r, nil) {
		out = append(out, e)
	}
	return out
}

// plan checks a Request against docs/moves.md row 8 and says what to program.
func (c *Core) plan(a registration.Ask) (*job, *mobility.StatusError) {
	r := &a.Request
	if len(r.Pairs) == 0 {
		return nil, mobility.Refuse(mobility.StatusMissingAddress, "no pairs")
	}
	if newest := c.newest(r); newest > r.Epoch {
		return nil, mobility.Refuse(mobility.StatusProhibited, "epoch %d is older than %d", r.Epoch, newest)
	}
	j := &job{handle: a.Handle, request: *r, order: a.Order, withdraw: r.Lifetime == 0}
	added := 0
	for _, p := range r.Pairs {
		if p.Rewrites() {
			return nil, mobility.Refuse(mobility.StatusPairMismatch, "pair %s, %s: a router rewrites nothing", p.Old, p.New)
		}
		ch := Change{Address: p.Old}
		if held := c.routes[p.Old]; j.withdraw {
			if held != nil && held.VM != r.VM { // a route that the file does not know may be in the kernel still
				continue // another VM's by now
			}
		} else {
			if ch.Locator = locatorFor(r, p.Old); !ch.Locator.IsValid() {
				return nil, mobility.Refuse(mobility.StatusForwardingFailed, "%s: no locator of its family", p.Old)
			}
			if held == nil {
				added++
			}
		}
		j.changes = append(j.changes, ch)
	}
	if len(c.routes)+c.coming()+added > c.cfg.MaxRoutes {
		return nil, mobility.Refuse(mobility.StatusResources, "%d routes are held, the limit is %d", len(c.routes), c.cfg.MaxRoutes)
	}
	return j, nil
}

// coming is how many routes more will be held once the jobs under way are done.
func (c *Core) coming() int {
	fresh := map[netip.Addr]bool{}
	for _, j := range c.jobs {
		for _, ch := range j.changes {
			if c.routes[ch.Address] == nil && !j.withdraw {
				fresh[ch.Address] = true
			}
		}
	}
	return len(fresh)
}

func locatorFor(r *registration.Request, a netip.Addr) netip.Addr {
	if a.Is4() {
		return r.Locator4
	}
	return r.CareOf
}

// newest is the highest epoch held for the Request's VM on its addresses.
func (c *Core) newest(r *registration.Request) mobility.Epoch {
	var e mobility.Epoch
	for _, p := range r.Pairs {
		if held := c.routes[p.Old]; held != nil && held.VM == r.VM {
			e = max(e, held.Epoch)
		}
	}
	for _, j := range c.jobs { // on their way to the kernel
		if j.request.VM == r.VM {
			e = max(e, j.request.Epoch)
		}
	}
	return e
}

// programmed takes the kernel's word for one job, and answers its Request.
func (c *Core) programmed(now time.Time, e Programmed) []Effect {
	j, ok := c.jobs[e.ID]
	if !ok {
		return nil
	}
	delete(c.jobs, e.ID)
	p := Persist{Passed: c.pass(j.order)}
	reply := registration.Reply{Status: mobility.StatusAccepted, Lifetime: j.request.Lifetime, Epoch: j.request.Epoch, Pairs: j.request.Pairs}
	var out []Effect
	for i, ch := range j.changes {
		err := e.Errs[i]
		if err != nil && reply.Status == mobility.StatusAccepted { // the first says why
			reply.Status = mobility.StatusForwardingFailed
			if errors.Is(err, ErrFull) {
				reply.Status = mobility.StatusResources
			}
			out = append(out, Refused{VM: j.request.VM, Status: reply.Status, Reason: err.Error()})
		}
		switch {
		case j.withdraw && err == nil:
			delete(c.routes, ch.Address)
			p.Forget = append(p.Forget, ch.Address)
		case !j.withdraw:
			p.Put = append(p.Put, *c.hold(now, &j, ch, err))
		}
	}
	if reply.Status != mobility.StatusAccepted {
		reply.Lifetime = 0
	}
	return append(append(out, p), c.answer(now, j.handle, reply)...)
}

// pass notes the timestamp of a Request that is carried out.
func (c *Core) pass(o registration.Order) Passed {
	if o.Timestamp.After(c.passed[o.Sender]) {
		c.passed[o.Sender] = o.Timestamp
	}
	return Passed{o.Sender, c.passed[o.Sender]}
}

func (c *Core) hold(now time.Time, j *job, ch Change, err error) *Route {
	r := &Route{Address: ch.Address, VM: j.request.VM, Epoch: j.request.Epoch, Locator: ch.Locator,
		Expires: now.Add(j.request.Lifetime.Duration()), Since: now}
	if old := c.routes[ch.Address]; old != nil && old.Locator == r.Locator && !old.Since.IsZero() {
		r.Since = old.Since
	}
	if err != nil {
		r.Since, r.Err = time.Time{}, err.Error()
	}
	c.routes[ch.Address] = r
	return r
}

func (c *Core) moved(now time.Time, e Moved) {
	r := c.routes[e.Address]
	if r == nil {
		return
	}
	if e.Err != nil {
		r.Since, r.Err = time.Time{}, e.Err.Error()
		return
	}
	r.Err = ""
	if r.Since.IsZero() {
		r.Since = now
	}
}
