package software

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A hold is an ifb with a tbf root. Closed, its rate is one byte a second and
// every packet is charged closedOverhead more bytes: the first frame (our own
// filler) empties the bucket and nothing passes for 14 hours. Frames of our
// own, fillers and kicks, end in the ifb: it sends on only what was redirected.
const (
	closedOverhead = 65535
	closedBurst    = 72000 // no frame is larger: what is segmented would count as several
	closedFiller   = 60000
	openRate       = 5_000_000_000 // bytes per second
	openBurst      = 1 << 20
	holdSlack      = 16 << 20 // for what passes during the release
)

func holdName(at uint32) string { return fmt.Sprintf("dpmip-h%d", at) }

// ensureHold gives the group an ifb, closed, and lets its packets pass there.
// A group that was released needs none. Caller holds apply.
func (d *Device) ensureHold(g *group) error {
	if g.slot.HoldIfindex != 0 || g.slot.state()&(instActive|instReturning) != 0 {
		return nil
	}
	l, err := d.makeIfb(holdName(g.at))
	if err != nil {
		return err
	}
	at := uint32(l.Attrs().Index)
	limit := min(uint64(g.slot.LimitBytes)+holdSlack, 1<<31)
	err = gate(d.rt, at, tbf{rate: 1, overhead: closedOverhead, burst: closedBurst, limit: uint32(limit)})
	if err == nil {
		err = d.send(at, filler(closedFiller))
	}
	if err != nil {
		return errors.Join(err, d.nl.LinkDel(l))
	}
	atomic.StoreUint32(&g.slot.HoldIfindex, at)
	g.slot.set(instHold)
	return nil
}

func (d *Device) makeIfb(name string) (netlink.Link, error) {
	if old, err := d.nl.LinkByName(name); err == nil {
		d.nl.LinkDel(old) // of a process that died between making and using it
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.NumTxQueues, attrs.NumRxQueues = name, 65535, 1, 1
	if err := d.nl.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}); err != nil {
		return nil, fmt.Errorf("software: hold: %s: %w", name, err)
	}
	l, err := d.nl.LinkByName(name)
	if err == nil {
		err = d.nl.LinkSetUp(l)
	}
	if err != nil {
		return nil, fmt.Errorf("software: hold: %s: %w", name, err)
	}
	return l, nil
}

// filler is a frame of the local experimental type that goes nowhere.
func filler(size int) []byte {
	f := make([]byte, size)
	f[0], f[6] = 0x02, 0x02
	f[12], f[13] = 0x88, 0xb5
	return f
}

// tbf is a token bucket filter: rate in bytes a second, burst and limit in
// bytes, overhead in bytes a packet.
type tbf struct {
	rate     uint64
	overhead uint16
	burst    uint32
	limit    uint32
}

// gate sets the root qdisc of an ifb. netlink.Tbf has no overhead.
func gate(c *rtConn, ifindex uint32, q tbf) error {
	err := c.one(tbfMessage(ifindex, q))
	if err != nil {
		return fmt.Errorf("software: hold: queue of port %d: %w", ifindex, err)
	}
	return nil
}

func tbfMessage(ifindex uint32, q tbf) rtMessage {
	rate := make([]byte, 12) // struct tc_ratespec
	rate[1] = 1              // link layer: Ethernet
	binary.NativeEndian.PutUint16(rate[2:], q.overhead)
	binary.NativeEndian.PutUint32(rate[8:], uint32(min(q.rate, 1<<32-1)))
	parms := append(rate, make([]byte, 12)...) // peak rate: none
	parms = binary.NativeEndian.AppendUint32(parms, q.limit)
	parms = binary.NativeEndian.AppendUint32(parms, 1) // buffer: TCA_TBF_BURST instead
	parms = binary.NativeEndian.AppendUint32(parms, 0)
	const tcaParms, tcaRate64, tcaBurst = 1, 4, 6
	opts := appendAttr(nil, tcaParms, parms)
	opts = appendAttr32(opts, tcaBurst, q.burst)
	opts = appendAttr(opts, tcaRate64, binary.NativeEndian.AppendUint64(nil, q.rate))

	m := rtMessage{kind: unix.RTM_NEWQDISC, flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE}
	m.body = make([]byte, 20) // struct tcmsg
	binary.NativeEndian.PutUint32(m.body[4:], ifindex)
	binary.NativeEndian.PutUint32(m.body[8:], 1<<16) // handle 1: so that a change is one
	binary.NativeEndian.PutUint32(m.body[12:], 0xffffffff)
	m.body = appendAttr(m.body, unix.TCA_KIND, []byte("tbf\x00"))
	m.body = appendAttr(m.body, unix.TCA_OPTIONS, opts)
	return m
}

// queue reads the root qdisc of a hold.
func (d *Device) queue(ifindex uint32) (netlink.GnetStatsQueue, error) {
	qs, err := d.nl.QdiscList(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Index: int(ifindex)}})
	if err != nil {
		return netlink.GnetStatsQueue{}, fmt.Errorf("software: hold: queue of port %d: %w", ifindex, err)
	}
	for _, q := range qs {
		a := q.Attrs()
		if a.LinkIndex == int(ifindex) && a.Parent == netlink.HANDLE_ROOT && a.Statistics != nil && a.Statistics.Queue != nil {
			return *a.Statistics.Queue, nil
		}
	}
	return netlink.GnetStatsQueue{}, nil
}

// removeHold ends a group's hold; what is still in it is lost. Caller holds
// apply.
func (d *Device) removeHold(g *group) {
	at := g.slot.HoldIfindex
	if at == 0 {
		return
	}
	g.slot.unset(instHold)
	atomic.StoreUint32(&g.slot.HoldIfindex, 0)
	l, err := d.nl.LinkByIndex(int(at))
	if err != nil || l.Attrs().Name != holdName(g.at) {
		return
	}
	if err := d.nl.LinkDel(l); err != nil {
		d.log.Warn("hold port not deleted", "port", l.Attrs().Name, "err", err)
	}
}

// startRelease opens a group's hold in the background; the channel is closed
// when it is empty and no longer passed. One release runs per group.
func (d *Device) startRelease(g *group) <-chan struct{} {
	d.drainMu.Lock()
	defer d.drainMu.Unlock()
	if left := d.draining[g.at]; left != nil {
		return left
	}
	left, opened := make(chan struct{}), make(chan error, 1)
	d.draining[g.at] = left
	d.tasks.Add(1)
	d.opener.post(func() { opened <- d.openHold(g.slot) })
	go func() {
		defer d.tasks.Done()
		err := <-opened
		if err == nil {
			err = d.awaitRelease(g.slot)
		}
		if err != nil {
			d.log.Warn("hold not released", "group", g.slot.stamp(), "err", err)
		}
		d.drainMu.Lock()
		delete(d.draining, g.at)
		d.drainMu.Unlock()
		close(left)
	}()
	return left
}

// openHold lets go what is held, and wakes the queue if anything is. It runs on
// the opener's thread: the VM waits for it.
func (d *Device) openHold(i *instSlot) error {
	at := atomic.LoadUint32(&i.HoldIfindex)
	limit := min(uint64(i.LimitBytes)+holdSlack, 1<<31)
	if err := gate(d.openRT, at, tbf{rate: openRate, burst: openBurst, limit: uint32(limit)}); err != nil {
		return err
	}
	if atomic.LoadUint64(&i.Entered) == 0 {
		return nil
	}
	return d.kickHere(at, int(atomic.LoadUint32(&i.CPU)))
}

// awaitRelease sees a hold that was opened to its end. Packets keep going through
// the ifb, behind the held ones, until all that entered were seen to have left;
// the group is told by its Left. It leaves the ifb for good when none has entered
// since.
func (d *Device) awaitRelease(i *instSlot) error {
	at, serial := atomic.LoadUint32(&i.HoldIfindex), i.Serial
	const soonest, latest, often = 500 * time.Microsecond, 20 * time.Millisecond, 40
	timer := time.NewTimer(0)
	defer timer.Stop()
	wait := soonest
	for n := 0; ; n++ {
		if i.Serial != serial || atomic.LoadUint32(&i.HoldIfindex) != at {
			return nil // the group is gone, and its hold
		}
		entered, cpu := atomic.LoadUint64(&i.Entered), int(atomic.LoadUint32(&i.CPU))
		empty, err := d.passed(at, entered, cpu)
		switch {
		case err != nil:
			return err
		case empty && atomic.LoadUint64(&i.Left) == entered:
			i.unset(instHold)
			return nil
		case empty:
			d.handedOn(cpu)
			atomic.StoreUint64(&i.Left, entered)
		}
		if n > often {
			wait = min(2*wait, latest)
		}
		timer.Reset(wait)
		select {
		case <-d.ctx.Done():
			return nil // the next process goes on
		case <-timer.C:
		}
	}
}

// handedOn returns once what an ifb has counted as sent on that processor is on
// its way behind it: the kernel counts a packet before it hands it on, in one go
// that ends before a thread runs there. A packet that were decided in between, on
// another processor, would overtake it.
func (d *Device) handedOn(cpu int) {
	_ = d.opener.do(func() error { return onCPU(cpu) }) // where we may not run it costs order at worst
}

// passed reports whether so many packets have entered an ifb and left it again;
// where some still wait it wakes the queue.
func (d *Device) passed(ifindex uint32, entered uint64, cpu int) (bool, error) {
	l, err := d.nl.LinkByIndex(int(ifindex))
	if err != nil {
		return false, fmt.Errorf("software: hold: port %d: %w", ifindex, err)
	}
	s := l.Attrs().Statistics
	in, out := s.RxPackets-s.RxDropped, s.TxPackets+s.TxDropped // received but not redirected: our own
	if in >= entered {
		return out >= in, nil
	}
	q, err := d.queue(ifindex)
	if err != nil {
		return false, err
	}
	if q.Qlen > 0 {
		return false, d.kick(ifindex, cpu)
	}
	return out >= in && in+uint64(q.Drops) >= entered, nil
}

// kick wakes a queue, on the CPU where its packets come in: everything that
// leaves then stays in the order of that CPU, also on a veth behind it, which
// queues per CPU.
func (d *Device) kick(ifindex uint32, cpu int) error {
	return d.opener.do(func() error { return d.kickHere(ifindex, cpu) })
}

// kickHere is kick on the opener's thread.
func (d *Device) kickHere(ifindex uint32, cpu int) error {
	// A CPU that we may not use costs order at worst, not packets.
	_ = onCPU(cpu)
	return d.send(ifindex, filler(64))
}

// resumeReleases goes on with what an earlier process began.
func (d *Device) resumeReleases() {
	for _, g := range d.index {
		st := g.slot.state()
		if st&instHold != 0 && st&(instActive|instReturning) != 0 {
			d.startRelease(g)
		}
	}
}

// routeBack makes the group's held packets leave by the loop port: fabric_in
// decides them again there, restored, and what nothing claims goes the way that
// the FIB has without us. Caller holds apply.
func (d *Device) routeBack(g *group) error {
	out, err := d.interfaceIndex(loopOut)
	if err != nil {
		return err
	}
	var msgs []rtMessage
	for a, slots := range d.restores {
		if d.tables.rules.at[d.newest(slots)].Inst == g.at {
			msgs = append(msgs, routeMessage(unix.RTM_NEWROUTE, route{prefix: hostPrefix(a), table: tableDeliver, oif: out}))
		}
	}
	for _, err := range d.rt.do(msgs) {
		if err != nil {
			return fmt.Errorf("software: route back to the fabric: %w", err)
		}
	}
	return nil
}
