package software

import (
	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// audit compares what the device needs with what the kernel has, and puts back
// what somebody has taken away. What can be many is read without the lock, and
// read again with it only where something looks wrong.
func (d *Device) audit() {
	d.mendPorts(true)
	d.mendPins()
	d.mendPrograms()
	d.mendPolicy()
	d.mendRoutes()
	d.mendFirewall()
}

// locked runs f with apply, unless the device is closed.
func (d *Device) locked(f func()) {
	d.apply.Lock()
	defer d.apply.Unlock()
	if !d.isClosed() {
		f()
	}
}

// mendPorts finds ports that were made anew, as a tap is when its VM starts and a
// representor when the e-switch's mode changes, and moves their rules there. A
// port that was there before is looked for by its name only if all are.
func (d *Device) mendPorts(all bool) {
	d.locked(d.mendFabric)
	was := map[string]uint32{}
	d.locked(func() {
		for at := uint32(1); at < d.slots.next; at++ {
			if s := &d.tables.rules.at[at]; s.onPort() {
				was[s.port()] = s.Ifindex
			}
		}
	})
	for port, before := range was {
		if !all && d.exists(before) {
			continue
		}
		now, err := d.portIndex(port)
		if err == nil && now != before {
			d.locked(func() { d.rebind(port, now) })
		}
	}
}

// exists reports whether there is an interface of this index: a microsecond.
func (d *Device) exists(ifindex uint32) bool {
	req, err := unix.NewIfreq("")
	if err != nil {
		return false
	}
	req.SetUint32(ifindex)
	return unix.IoctlIfreq(d.groups6, unix.SIOCGIFNAME, req) == nil
}

// onPort reports whether the slot's rule names a port.
func (s *ruleSlot) onPort() bool {
	return s.Kind == uint8(hwabstraction.KindDeliver) || s.Kind == uint8(hwabstraction.KindEgress)
}

// rebind puts the rules of a port again, which is another interface now. Caller
// holds apply.
func (d *Device) rebind(port string, now uint32) {
	var changes []hwabstraction.Change
	for at := uint32(1); at < d.slots.next; at++ {
		if s := &d.tables.rules.at[at]; s.onPort() && s.Ifindex != now && s.port() == port {
			changes = append(changes, hwabstraction.Put(s.rule()))
		}
	}
	if len(changes) == 0 {
		return
	}
	n := 0
	for _, r := range d.applyNow(d.ctx, changes) {
		if r.Err != nil {
			d.log.Warn("rule of a port that was made anew is not put there", "port", port, "rule", r.ID, "err", r.Err)
			continue
		}
		n++
	}
	if n > 0 {
		d.mended.add(mendedPort, 1)
		d.log.Info("a port was made anew: its rules are put there", "port", port, "ifindex", now, "rules", n)
	}
}

// mendFabric looks for the ports of the fabric again. Caller holds apply.
func (d *Device) mendFabric() {
	for i, name := range d.cfg.Fabric {
		before := d.fabric[i]
		now, err := d.portIndex(name)
		if err != nil {
			if before.Index != 0 {
				d.log.Warn("a port of the fabric is gone: nothing comes in there until it is back", "port", name, "err", err)
				before.Index = 0
			}
			continue
		}
		if uint32(before.Index) == now {
			continue
		}
		l, err := d.nl.LinkByIndex(int(now))
		if err != nil {
			continue // gone again; the next look tells
		}
		d.fabric[i] = l.Attrs()
		if err := d.ns.do(d.prepareStack); err != nil {
			d.log.Warn("a port of the fabric is not prepared", "port", name, "err", err)
		}
		if err := d.attach(now, d.tables.FabricIn, "fabric_in"); err != nil {
			d.log.Warn("a port of the fabric that was made anew has no program", "port", name, "err", err)
			continue
		}
		d.mended.add(mendedFabric, 1)
		d.log.Info("a port of the fabric was made anew: its program is there", "port", name, "ifindex", now)
	}
}

// guard is the program that must be on a port.
type guard struct {
	program *ebpf.Program
	name    string
}

// mendPrograms attaches programs again that somebody has taken off, or replaced.
func (d *Device) mendPrograms() {
	ids := map[*ebpf.Program]ebpf.ProgramID{}
	for _, p := range []*ebpf.Program{d.tables.FabricIn, d.tables.VmIn} {
		info, err := p.Info()
		if err != nil {
			continue // any program of ours will do
		}
		ids[p], _ = info.ID()
	}
	var guards map[uint32]guard
	d.locked(func() { guards = d.guards() })
	for ifindex, g := range guards {
		if d.attached(ifindex, ids[g.program]) {
			continue
		}
		d.locked(func() {
			if d.guards()[ifindex] != g || d.attached(ifindex, ids[g.program]) {
				return
			}
			l, err := d.nl.LinkByIndex(int(ifindex))
			if err != nil {
				return // the port has gone
			}
			if err := d.attach(ifindex, g.program, g.name); err != nil {
				d.log.Error("somebody has taken a program off a port, and it cannot be put back", "port", l.Attrs().Name, "program", g.name, "err", err)
				return
			}
			d.mended.add(mendedProgram, 1)
			d.log.Warn("somebody has taken a program off a port: it is put back", "port", l.Attrs().Name, "program", g.name)
		})
	}
}

// guards are the programs by port. Caller holds apply.
func (d *Device) guards() map[uint32]guard {
	out := map[uint32]guard{}
	in := guard{d.tables.FabricIn, "fabric_in"}
	for _, l := range d.fabric {
		if l.Index != 0 {
			out[uint32(l.Index)] = in
		}
	}
	if back, err := d.interfaceIndex(loopBack); err == nil {
		out[back] = in
	}
	for ifindex := range d.opened {
		out[ifindex] = guard{d.tables.VmIn, "vm_in"}
	}
	return out
}
