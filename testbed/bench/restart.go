package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/mobility/wire"
)

// Size of the fleet that registers again.
const (
	fleetHosts = 20
	fleetVMs   = 5000 // of each host
)

// restart kills a management node that serves 100 000 VMs, starts it again and
// waits until every VM has been registered anew. The agents are the real cores
// over real sockets, without devices.
func restart(ctx context.Context, o *Options) (out []Figure, err error) {
	hosts := fleetHosts
	if o.Quick {
		hosts /= 5
	}
	m, err := newManagement(o, hosts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.launch(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	var tasks sync.WaitGroup
	defer func() { cancel(); tasks.Wait() }()
	fleet, err := m.startFleet(ctx, &tasks)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := awaitAll(ctx, fleet, (*host).attach); err != nil {
		return nil, err
	}
	first := time.Since(start)
	if err := m.process.Kill(); err != nil {
		return nil, err
	}
	start = time.Now()
	if err := m.launch(ctx); err != nil {
		return nil, err
	}
	serving := time.Since(start)
	if err := awaitAll(ctx, fleet, func(*host) {}); err != nil {
		return nil, err
	}
	again := time.Since(start)
	n := hosts * fleetVMs
	return []Figure{
		value("VMs registered again after the management node was killed", "VMs", float64(n)).atLeast(float64(n)).note("%d agent cores over raw MH, no device; spread over 2 s", hosts),
		value("from its start until all are registered again", "s", again.Seconds()).note("of which %.2f s until it serves, with %d bindings read", serving.Seconds(), n),
		value("first registration of all", "s", first.Seconds()),
	}, nil
}

// awaitAll begins something at every host and waits until each has heard an
// acceptance for each of its VMs.
func awaitAll(ctx context.Context, fleet []*host, begin func(*host)) error {
	for _, h := range fleet {
		h.expect()
		begin(h)
	}
	for _, h := range fleet {
		select {
		case <-h.all():
		case <-ctx.Done():
			return fmt.Errorf("bench: %s: %d of %d VMs are registered: %w", h.plan.Name, h.count(), fleetVMs, ctx.Err())
		}
	}
	return nil
}

// host is a hypervisor: an agent's core and its transport, without a device.
type host struct {
	plan hostPlan
	conn *transport.Conn
	ctx  context.Context

	mu       sync.Mutex // guards what follows
	core     *agent.Core
	accepted map[mobility.VMID]bool // since expect
	done     chan struct{}
	wake     chan struct{}
}

func (m *management) startFleet(ctx context.Context, tasks *sync.WaitGroup) ([]*host, error) {
	var fleet []*host
	for i, plan := range m.fleet {
		conn, err := m.dial(plan)
		if err != nil {
			return nil, err
		}
		core, err := agent.NewCore(agent.Config{
			Registration: registration.Config{Self: plan.Locator, Management: []netip.Addr{mgmtLocator}, Seed: uint64(i) + 1},
			Ranges:       []netip.Prefix{plan.Range}, Pools: []netip.Prefix{plan.Pool}, PortTemplate: "{vm}", Seed: [32]byte{byte(i)},
		})
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		h := &host{plan: plan, conn: conn, ctx: ctx, core: core, wake: make(chan struct{}, 1)}
		h.expect()
		h.do(core.Start(time.Now(), nil, false, nil))
		tasks.Go(func() { _ = conn.Run(ctx, h.receive); conn.Close() })
		tasks.Go(h.tick)
		fleet = append(fleet, h)
	}
	return fleet, nil
}

// expect forgets what was accepted so far.
func (h *host) expect() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.accepted, h.done = make(map[mobility.VMID]bool, fleetVMs), make(chan struct{})
}

// all is closed when every VM has been accepted since expect.
func (h *host) all() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.done
}

func (h *host) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.accepted)
}

// attach attaches every VM.
func (h *host) attach() {
	for i := range fleetVMs {
		h.step(agent.Attach{
			ID: agent.CommandID(i + 1), VM: h.vm(i), Port: fmt.Sprintf("vp%d", i), MAC: mobility.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)},
			Addresses: []netip.Addr{h.plan.address(i + 1)},
		})
	}
}

func (h *host) vm(i int) mobility.VMID {
	return mobility.NAI(fmt.Sprintf("%s-%05d@dc1.example", h.plan.Name, i))
}

func (h *host) receive(batch []registration.Inbound) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, in := range batch {
		if m := in.Message; m.Type == wire.TypeReply && m.Reply.Status == mobility.StatusAccepted {
			if subtype, id, ok := m.Identifier(); ok {
				h.note(mobility.VMID{Subtype: subtype, Bytes: string(id)})
			}
		}
		h.do(h.core.Step(time.Now(), agent.Inbound{Inbound: in}, nil))
	}
}

func (h *host) note(id mobility.VMID) {
	if h.accepted[id] = true; len(h.accepted) == fleetVMs {
		select {
		case <-h.done:
		default:
			close(h.done)
		}
	}
}

func (h *host) step(e agent.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.do(h.core.Step(time.Now(), e, nil))
}

// do carries effects out: what a device would do is done at once. h.mu is held.
func (h *host) do(effects []agent.Effect) {
	var sends []registration.Send
	for len(effects) > 0 {
		e := effects[0]
		effects = effects[1:]
		if s, ok := e.(agent.Send); ok {
			sends = append(sends, s.Send)
			continue
		}
		if ref := awaited(e); ref != 0 {
			effects = append(effects, h.core.Step(time.Now(), agent.Result{Ref: ref, At: time.Now()}, nil)...)
		}
	}
	if len(sends) > 0 {
		_ = h.conn.Send(h.ctx, sends) // what is not sent is sent again
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// awaited is the Ref of an effect whose Result the core waits for.
func awaited(e agent.Effect) agent.Ref {
	switch e := e.(type) {
	case agent.Persist:
		return e.Ref
	case agent.Apply:
		return e.Ref
	case agent.Switch:
		return e.Ref
	case agent.ReadCounters:
		return e.Ref
	}
	return 0
}

// tick keeps the core's time until the run ends.
func (h *host) tick() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-timer.C:
			h.step(agent.Tick{})
		case <-h.wake:
		}
		h.mu.Lock()
		at, ok := h.core.Next()
		h.mu.Unlock()
		if !ok {
			at = time.Now().Add(time.Second)
		}
		timer.Reset(max(time.Until(at), time.Millisecond))
	}
}
