package software

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

func (d *Device) linkPin(ifindex uint32) string {
	return filepath.Join(d.tables.dir, fmt.Sprintf("link-%d", ifindex))
}

// attachAll puts the programs on the fabric ports, the loop, and the VM ports
// that are open. A program of an earlier process is replaced in one step.
func (d *Device) attachAll() error {
	d.cleanLinks()
	back, err := d.interfaceIndex(loopBack)
	if err != nil {
		return err
	}
	in := []uint32{back}
	for _, l := range d.fabric {
		in = append(in, uint32(l.Index))
	}
	for _, ifindex := range in {
		if err := d.attach(ifindex, d.tables.FabricIn, "fabric_in"); err != nil {
			return err
		}
	}
	for ifindex := range d.opened {
		if err := d.attach(ifindex, d.tables.VmIn, "vm_in"); err != nil {
			d.log.Warn("VM port is gone", "ifindex", ifindex, "err", err)
		}
	}
	return nil
}

// attach puts a program on a port's ingress. What the other way of attaching
// may have left goes afterwards: both at once do no harm.
func (d *Device) attach(ifindex uint32, prog *ebpf.Program, name string) error {
	if d.cfg.Attach != AttachClsBPF {
		err := d.ns.do(func() error { return d.attachTCX(ifindex, prog) })
		if err == nil {
			d.tcx = true
			d.removeFilters(ifindex, nil)
			return nil
		}
		if d.cfg.Attach == AttachTCX || !errors.Is(err, ebpf.ErrNotSupported) {
			return fmt.Errorf("software: attach %s to port %d: %w", name, ifindex, err)
		}
	}
	if err := d.attachFilter(ifindex, prog, name); err != nil {
		return fmt.Errorf("software: attach %s to port %d: %w", name, ifindex, err)
	}
	d.removeFilters(ifindex, d.cfg.Place.places())
	return d.removeLink(ifindex)
}

func (d *Device) attachTCX(ifindex uint32, prog *ebpf.Program) error {
	pin := d.linkPin(ifindex)
	if l, err := link.LoadPinnedLink(pin, nil); err == nil {
		err := l.Update(prog)
		l.Close()
		if !errors.Is(err, unix.ENOLINK) { // else of a port that is gone
			return err
		}
		if err := d.removeLink(ifindex); err != nil {
			return err
		}
	}
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: int(ifindex), Program: prog, Attach: ebpf.AttachTCXIngress, Anchor: link.Head(),
	})
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Pin(pin)
}

func (d *Device) removeLink(ifindex uint32) error {
	if err := os.Remove(d.linkPin(ifindex)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("software: %w", err)
	}
	return nil
}

// forgetPorts lets go of the pins of idle ports that have gone. Caller holds
// apply.
func (d *Device) forgetPorts() {
	if len(d.idle) == 0 {
		return
	}
	links, err := d.nl.LinkList()
	if err != nil {
		d.log.Warn("ports that have gone are not forgotten", "err", err)
		return
	}
	there := make(map[uint32]bool, len(links))
	for _, l := range links {
		there[uint32(l.Attrs().Index)] = true
	}
	for ifindex := range d.idle {
		if d.opened[ifindex] > 0 {
			delete(d.idle, ifindex)
		} else if !there[ifindex] {
			delete(d.idle, ifindex)
			if err := d.removeLink(ifindex); err != nil {
				d.log.Warn("port not forgotten", "port", ifindex, "err", err)
			}
		}
	}
}

// cleanLinks forgets links of ports that are gone.
func (d *Device) cleanLinks() {
	names, err := filepath.Glob(filepath.Join(d.tables.dir, "link-*"))
	if err != nil {
		return
	}
	for _, name := range names {
		l, err := link.LoadPinnedLink(name, nil)
		if err != nil {
			continue
		}
		info, err := l.Info()
		switch {
		case err != nil || info.TCX() == nil:
		case info.TCX().Ifindex == 0:
			os.Remove(name)
		case d.opened[info.TCX().Ifindex] == 0: // of the fabric, too: they may go as well
			d.idle[info.TCX().Ifindex] = true
		}
		l.Close()
	}
}

// attached reports whether a program of ours sits on a port now, wherever it
// must be; 0 = any of them.
func (d *Device) attached(ifindex uint32, program ebpf.ProgramID) bool {
	if l, err := link.LoadPinnedLink(d.linkPin(ifindex), nil); err == nil {
		defer l.Close()
		info, err := l.Info()
		return err == nil && info.TCX() != nil && info.TCX().Ifindex == ifindex && (program == 0 || info.Program == program)
	}
	for _, p := range d.cfg.Place.places() {
		if !d.filterThere(ifindex, p, program) {
			return false
		}
	}
	return true
}

// Capabilities implements hwabstraction.Device.
func (d *Device) Capabilities() hwabstraction.Capabilities {
	yes := func(f hwabstraction.Feature, why string) hwabstraction.Capability {
		return hwabstraction.Capability{Feature: f, Answer: hwabstraction.Yes, Reason: why}
	}
	tcx := hwabstraction.Capability{Feature: hwabstraction.FeatureTCX, Answer: hwabstraction.No, Reason: "attached by cls_bpf"}
	if d.tcx {
		tcx = yes(hwabstraction.FeatureTCX, "attached by TCX")
	}
	ct := hwabstraction.Capability{Feature: hwabstraction.FeatureConntrack, Answer: hwabstraction.No, Reason: "no bpf_ct_opts in the kernel's BTF"}
	if n := d.tables.conntrack; n != 0 {
		ct = yes(ct.Feature, "bpf_skb_ct_lookup, options of "+strconv.Itoa(int(n))+" bytes")
	}
	return hwabstraction.Capabilities{
		Backend: "software",
		Features: []hwabstraction.Capability{
			yes(hwabstraction.FeatureRedirect, "programs loaded"),
			yes(hwabstraction.FeatureHold, "ifb with a closed tbf"),
			ct,
			yes(hwabstraction.FeatureReject, "nft reject in the forward hook"),
			yes(hwabstraction.FeatureTrap, "ring buffer"),
			{Feature: hwabstraction.FeatureOffload, Answer: hwabstraction.No, Reason: "software only"},
			tcx,
		},
		MaxRules: int(d.tables.Dsts.MaxEntries()),
		MaxFlows: int(d.tables.Flows.MaxEntries()),
	}
}
