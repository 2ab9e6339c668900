package switchdev

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Device is a fast path of filters in front of a slow one. It implements
// hwabstraction.Device.
type Device struct {
	cfg    Config
	slow   hwabstraction.Device
	ladder []rung

	// applying serialises what changes rules.
	applying sync.Mutex

	// mu guards all that follows. It is held while the filters of one unit are
	// put, never while the slow path changes or switches.
	mu      sync.Mutex
	closed  bool
	model   *model
	ledger  *ledger
	units   map[unitKey]*unit
	chains  map[uint32]owner
	scene   scene
	seen    uint64              // how often the scene has become another one
	behind  bool                // the kernel has changed since
	asked   map[netip.Addr]bool // targets whose hop is in the scene, or unclear
	quiet   map[hwabstraction.Stamp]time.Time
	carried map[hwabstraction.RuleID]hwabstraction.Counter // of filters that are gone
	taken   map[owner]passed                               // packets that they took, by VM
	dirty   map[unitKey]bool
	polls   map[unitKey]time.Time
	ready   map[int32]bool // ports with a clsact qdisc
	pending []netip.Prefix // what rules will claim that the slow path is being given
	claims  bool           // scene.except may not be what rules claim
	stale   bool           // the model may not be what the slow path has
	figures figures

	rested chan struct{} // closed and made anew when the loop has nothing to do

	wake   chan struct{}
	cancel context.CancelFunc
	ended  chan struct{}
}

var (
	_ hwabstraction.Device = (*Device)(nil)
	_ hwabstraction.Fencer = (*Device)(nil)
	_ hwabstraction.Tiered = (*Device)(nil)
	_ hwabstraction.Mender = (*Device)(nil)
)

// Open stands a fast path in front of the slow one, which becomes the Device's:
// Close closes it. It adopts the filters of an earlier process and touches no
// forwarding; filters come and go from then on, by a goroutine that ends with
// Close. The slow path's own filters must stand at SlowPriority in chain 0 and
// in SlowChain.
func Open(slow hwabstraction.Device, cfg Config) (*Device, error) {
	cfg, err := cfg.defaults()
	if err != nil {
		return nil, err
	}
	d := &Device{
		cfg: cfg, slow: slow, ladder: ladder(cfg.SkipHW),
		model: newModel(), ledger: newLedger(), units: map[unitKey]*unit{}, chains: map[uint32]owner{},
		asked: map[netip.Addr]bool{}, quiet: map[hwabstraction.Stamp]time.Time{},
		carried: map[hwabstraction.RuleID]hwabstraction.Counter{}, taken: map[owner]passed{}, dirty: map[unitKey]bool{},
		polls: map[unitKey]time.Time{}, ready: map[int32]bool{}, rested: make(chan struct{}),
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	if err := d.adopt(ctx); err != nil {
		cancel()
		return nil, err
	}
	go d.run(ctx)
	return d, nil
}

// adopt reads the rules that the slow path has, and the filters that an earlier
// process has left.
func (d *Device) adopt(ctx context.Context) error {
	rules, err := d.slow.Rules(ctx)
	if err != nil {
		return fmt.Errorf("switchdev: read the slow path: %w", err)
	}
	// In a stable order, so that chains are found again.
	slices.SortStableFunc(rules, func(a, b hwabstraction.RuleStatus) int {
		x, y := a.Rule.Stamped().Owner, b.Rule.Stamped().Owner
		return slices.Compare(x[:], y[:])
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range rules {
		d.model.put(r.Rule)
		d.unitsOf(r.Rule)
	}
	d.except()
	ports, targets := d.questions()
	d.behold(d.look(ports, targets), ports, targets)
	for _, p := range d.watched() {
		found, err := d.cfg.Table.List(ctx, p.Index)
		if err != nil {
			d.cfg.Log.Warn("filters of a port are not adopted", "port", p.name, "err", err)
			continue
		}
		d.takeOver(p, found)
	}
	for k, u := range d.units {
		d.dirty[k] = true
		d.trust(u)
	}
	return nil
}

// trust takes a hold that is over as over long since, where filters act already.
func (d *Device) trust(u *unit) {
	if u.key.port != "" || len(d.ledger.units[u.key]) == 0 {
		return
	}
	for _, s := range d.model.stamps(u.key.vm) {
		if g, err := d.slow.Group(s); err == nil && g.Active && g.HeldNow == 0 {
			d.quiet[s] = time.Time{}
		}
	}
}

// Close lets go of the device, and closes the slow path. Every rule and filter
// goes on acting.
func (d *Device) Close() error {
	d.Halt()
	return d.slow.Close()
}

// Halt ends what both paths do by themselves and nothing else, as the death of the
// process would. Of this Device only Close may be called afterwards.
func (d *Device) Halt() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	<-d.ended
	if h, ok := d.slow.(interface{ Halt() }); ok {
		h.Halt()
	}
}

// Capabilities are those of the slow path, which can do all that is asked for,
// and where filters may sit.
func (d *Device) Capabilities() hwabstraction.Capabilities {
	c := d.slow.Capabilities()
	c.Backend = "switchdev"
	c.Features = slices.DeleteFunc(slices.Clone(c.Features), func(x hwabstraction.Capability) bool { return x.Feature == hwabstraction.FeatureOffload })
	offload := hwabstraction.Capability{Feature: hwabstraction.FeatureOffload, Answer: hwabstraction.Yes, Reason: "tc flower on representors; each rule tells where it is"}
	if d.cfg.SkipHW {
		offload.Answer, offload.Reason = hwabstraction.No, "device.skip_hw: filters stay in the kernel"
	}
	c.Features = append(c.Features, offload)
	return c
}

// Trapped implements hwabstraction.Device.
func (d *Device) Trapped() <-chan hwabstraction.Trapped { return d.slow.Trapped() }

// Transmit implements hwabstraction.Device.
func (d *Device) Transmit(port string, frame []byte) error { return d.slow.Transmit(port, frame) }

// SetHoldLimit implements hwabstraction.Device.
func (d *Device) SetHoldLimit(s hwabstraction.Stamp, l hwabstraction.HoldLimit) error {
	return d.slow.SetHoldLimit(s, l)
}

// LoadFlows implements hwabstraction.Device. What conntrack itself has seen is
// fast; the slow path judges the rest by these flows.
func (d *Device) LoadFlows(ctx context.Context, s hwabstraction.Stamp, flows []hwabstraction.Flow) (int, error) {
	return d.slow.LoadFlows(ctx, s, flows)
}

// Drops implements hwabstraction.Device: filters drop nothing.
func (d *Device) Drops(ctx context.Context) (hwabstraction.Drops, error) { return d.slow.Drops(ctx) }

// Group implements hwabstraction.Device.
func (d *Device) Group(s hwabstraction.Stamp) (hwabstraction.GroupStatus, error) {
	return d.slow.Group(s)
}

// Fence implements hwabstraction.Fencer, if the slow path does: both use the same
// queues.
func (d *Device) Fence(ctx context.Context) error {
	f, ok := d.slow.(hwabstraction.Fencer)
	if !ok {
		return fmt.Errorf("%w: the slow path has no fence", hwabstraction.ErrNotSupported)
	}
	return f.Fence(ctx)
}

// Mended implements hwabstraction.Mender: what the slow path and the table have
// mended. What happens to filters, Tiers tells.
func (d *Device) Mended() map[string]uint64 {
	out := map[string]uint64{}
	for _, part := range []any{d.slow, d.cfg.Table} {
		if m, ok := part.(hwabstraction.Mender); ok {
			maps.Copy(out, m.Mended())
		}
	}
	return out
}
