package software

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// settleTime gathers changes of the FIB that come together.
const settleTime = 5 * time.Millisecond

// monitorBuffer holds the notices of some 10 000 routes; what overflows it is
// made up for by looking everything up again.
const monitorBuffer = 8 << 20

// What a notice is about, as bits of Device.heard.
const (
	heardRoutes = 1 << iota
	heardLinks
	heardPrograms
	heardPolicy
	heardAll = 1<<iota - 1
)

// startFollower watches the FIB and the links, lets routes towards locators
// follow, and puts back what others take away.
func (d *Device) startFollower() (err error) {
	if d.monitor, err = openIn(d.ns, dialMonitor); err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	d.tasks.Add(2)
	go d.readMonitor(changed)
	go d.followChanges(changed)
	return nil
}

// dialMonitor opens a socket that hears of links and of routes, but not of our
// own. Notices are not read further than that: follow looks at what there is.
func dialMonitor() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("software: route monitor: %w", err)
	}
	filter := foreignOnly()
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err == nil {
		// Best effort: with a smaller buffer notices are lost sooner, and that is heard.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, monitorBuffer)
		const groups = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1) |
			1<<(unix.RTNLGRP_TC-1) | 1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1)
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("software: route monitor: %w", err)
	}
	return os.NewFile(uintptr(fd), "route monitor"), nil
}

// foreignOnly is a socket filter: notices of links, of policy rules that were
// deleted, of routes whose rtm_protocol is not ours, and of tc as far as a program
// of ours may have gone: with its clsact qdisc, its filter (our handle) or its
// priority (no handle). It loads numbers in network order.
func foreignOnly() []unix.SockFilter {
	const typeAt, protocolAt, handleAt, parentAt = 4, unix.NLMSG_HDRLEN + 5, unix.NLMSG_HDRLEN + 8, unix.NLMSG_HDRLEN + 12
	kind := func(t uint16) uint32 {
		return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, t)))
	}
	number := func(n uint32) uint32 { return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, n)) }
	const load32, load16, load8 = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	const equal, ret = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	const clsact = netlink.HANDLE_CLSACT
	return []unix.SockFilter{
		{Code: load16, K: typeAt},
		{Code: equal, K: kind(unix.RTM_NEWLINK), Jt: 14},
		{Code: equal, K: kind(unix.RTM_DELLINK), Jt: 13},
		{Code: equal, K: kind(unix.RTM_DELRULE), Jt: 12},
		{Code: equal, K: kind(unix.RTM_NEWROUTE), Jt: 4},
		{Code: equal, K: kind(unix.RTM_DELROUTE), Jt: 3},
		{Code: equal, K: kind(unix.RTM_DELQDISC), Jt: 4},
		{Code: equal, K: kind(unix.RTM_NEWTFILTER), Jt: 5},
		{Code: equal, K: kind(unix.RTM_DELTFILTER), Jt: 4, Jf: 8},
		{Code: load8, K: protocolAt},
		{Code: equal, K: protocol, Jt: 6, Jf: 5},
		{Code: load32, K: parentAt},
		{Code: equal, K: number(clsact), Jt: 3, Jf: 4},
		{Code: load32, K: handleAt},
		{Code: equal, K: number(filterHandle), Jt: 1},
		{Code: equal, K: 0, Jf: 1},
		{Code: ret, K: 1<<32 - 1},
		{Code: ret, K: 0},
	}
}

// about tells what a notice is about.
func about(notice []byte) uint32 {
	if len(notice) < unix.NLMSG_HDRLEN {
		return heardAll
	}
	switch binary.NativeEndian.Uint16(notice[4:]) {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return heardRoutes | heardLinks
	case unix.RTM_DELRULE:
		return heardPolicy
	case unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER, unix.RTM_DELQDISC:
		return heardPrograms
	}
	return heardRoutes
}

// readMonitor turns notices into wake-ups until the monitor is closed. Notices
// that the kernel had to drop (ENOBUFS) are a change like any other.
func (d *Device) readMonitor(changed chan<- struct{}) {
	defer d.tasks.Done()
	defer close(changed)
	buf := make([]byte, 1<<16)
	for {
		n, err := d.monitor.Read(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			d.heard.Or(heardAll)
		case err != nil:
			if d.ctx.Err() == nil {
				d.log.Error("routes no longer follow the FIB", "err", err)
			}
			return
		default:
			d.heard.Or(about(buf[:n]))
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

func (d *Device) followChanges(changed <-chan struct{}) {
	defer d.tasks.Done()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	audit := time.NewTicker(d.cfg.Audit)
	defer audit.Stop()
	due := false // not put off by what goes on changing
	for {
		select {
		case _, ok := <-changed:
			if !ok {
				return
			}
			if !due {
				due = true
				timer.Reset(settleTime)
			}
		case <-timer.C:
			due = false
			d.answer(d.heard.Swap(0))
		case <-audit.C:
			d.audit()
		}
	}
}

// answer does what notices ask for.
func (d *Device) answer(heard uint32) {
	if heard&heardLinks != 0 {
		d.mendPorts(false)
	}
	if heard&heardRoutes != 0 {
		d.follow()
	}
	if heard&heardPrograms != 0 {
		d.mendPrograms()
	}
	if heard&heardPolicy != 0 {
		d.mendPolicy()
	}
}
