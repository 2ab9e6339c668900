package switchdev

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
)

// Arm implements hwabstraction.Device: the VM's gate is closed, then the slow
// path switches. Filters for the redirects come after the first packet, which
// the slow path times.
func (d *Device) Arm(s hwabstraction.Stamp) error {
	return d.switching(s, func() error { return d.slow.Arm(s) })
}

// Disarm implements hwabstraction.Device.
func (d *Device) Disarm(s hwabstraction.Stamp) error {
	return d.switching(s, func() error { return d.slow.Disarm(s) })
}

// Activate implements hwabstraction.Device. Filters for the deliveries come when
// nothing that was held is on its way.
func (d *Device) Activate(s hwabstraction.Stamp) error {
	return d.switching(s, func() error { return d.slow.Activate(s) })
}

// GiveBack implements hwabstraction.Device.
func (d *Device) GiveBack(ctx context.Context, s hwabstraction.Stamp) error {
	return d.switching(s, func() error { return d.slow.GiveBack(ctx, s) })
}

// switching has the slow path switch a group while its VM has no fast path.
func (d *Device) switching(s hwabstraction.Stamp, switched func() error) error {
	d.mu.Lock()
	u := d.units[unitKey{vm: s.Owner}]
	if u == nil || d.closed {
		d.mu.Unlock()
		return switched()
	}
	if err := d.withdraw(u); err != nil {
		d.mu.Unlock()
		return fmt.Errorf("switchdev: %s: the fast path cannot be taken away, so that nothing is switched: %w", s, err)
	}
	u.switching++
	if g, err := d.slow.Group(s); err == nil && !g.Active {
		delete(d.quiet, s) // of an earlier group with this stamp
	}
	d.mu.Unlock()
	err := switched()
	d.settle(u)
	return err
}

// settle ends what withdraw began: the loop plans the unit anew.
func (d *Device) settle(units ...*unit) {
	d.mu.Lock()
	for _, u := range units {
		u.switching--
		u.polls = 0
		delete(d.polls, u.key)
		d.dirty[u.key] = true
	}
	d.mu.Unlock()
	d.rouse()
}

// withdraw sends all packets of a unit to the slow path: one gate on each port.
// Where a gate cannot be closed the entries go instead. Caller holds mu.
func (d *Device) withdraw(u *unit) error {
	if d.ledger.closed(u.key) {
		return nil
	}
	ports := d.portsOf(u)
	var requests []tc.Request
	var gates []wanted
	for _, port := range ports {
		g := gate(port, u.chain, d.ladder[u.rung])
		gates = append(gates, g)
		requests = append(requests, tc.Request{Op: tc.Replace, Filter: g.Filter})
	}
	var failed error
	for i, err := range d.cfg.Table.Apply(context.Background(), requests) {
		switch {
		case err == nil:
			d.ledger.put(u.key, gates[i])
		case errors.Is(err, hwabstraction.ErrPortGone), errors.Is(err, tc.ErrDetached):
			d.gone(ports[i])
		default:
			failed = errors.Join(failed, d.shut(u, ports[i], err))
		}
	}
	return failed
}

// shut takes the entries of a unit away, for its gate cannot be closed.
func (d *Device) shut(u *unit, port int32, why error) error {
	var requests []tc.Request
	for k, w := range d.ledger.units[u.key] {
		if k.port == port && k.chain == entryChain {
			requests = append(requests, tc.Request{Op: tc.Delete, Filter: w.Filter})
		}
	}
	for i, err := range d.cfg.Table.Apply(context.Background(), requests) {
		if err != nil && !errors.Is(err, hwabstraction.ErrPortGone) {
			return errors.Join(why, err)
		}
		d.ledger.remove(u.key, requests[i].Filter)
	}
	d.cfg.Log.Warn("a gate could not be closed, its entries were removed", "unit", u.key, "port", port, "err", why)
	return nil
}

// gone forgets the filters of a port that is not there any more, and looks for
// the ports again. Where the look finds it all the same, who has asked tries again
// later, and nobody else now: the two answers may differ for long.
func (d *Device) gone(port int32) {
	d.forgotten(port)
	if !slices.ContainsFunc(d.watched(), func(p watchedPort) bool { return p.Index == port }) {
		d.replan()
	}
}

// bare forgets the filters of a port that has lost its qdisc, and them with it.
func (d *Device) bare(port int32) {
	d.forgotten(port)
	d.replan()
}

func (d *Device) forgotten(port int32) {
	d.ledger.forget(port)
	delete(d.ready, port)
	d.figures.PortsGone++
	ports, targets := d.questions()
	d.behold(d.look(ports, targets), ports, targets)
}

// replan has every unit looked at.
func (d *Device) replan() {
	for k := range d.units {
		d.dirty[k] = true
	}
	d.rouse()
}

// rouse wakes the loop.
func (d *Device) rouse() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}
