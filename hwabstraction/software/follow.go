package software

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// settleTime gathers changes of the FIB that come together.
const settleTime = 5 * time.Millisecond

// monitorBuffer holds the notices of some 10 000 routes; what overflows it is
// made up for by looking everything up again.
const monitorBuffer = 8 << 20

// startFollower watches the FIB and the links, and lets routes towards
// locators follow.
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
		const groups = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1)
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("software: route monitor: %w", err)
	}
	return os.NewFile(uintptr(fd), "route monitor"), nil
}

// foreignOnly is a socket filter: everything but route messages whose
// rtm_protocol is ours. It loads halfwords in network order.
func foreignOnly() []unix.SockFilter {
	const typeAt, protocolAt = 4, unix.NLMSG_HDRLEN + 5
	kind := func(t uint16) uint32 {
		return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, t)))
	}
	const load16, load8, equal, ret = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	return []unix.SockFilter{
		{Code: load16, K: typeAt},
		{Code: equal, K: kind(unix.RTM_NEWROUTE), Jt: 1},
		{Code: equal, K: kind(unix.RTM_DELROUTE), Jf: 2},
		{Code: load8, K: protocolAt},
		{Code: equal, K: protocol, Jt: 1},
		{Code: ret, K: 1<<32 - 1},
		{Code: ret, K: 0},
	}
}

// readMonitor turns notices into wake-ups until the monitor is closed. Notices
// that the kernel had to drop (ENOBUFS) are a change like any other.
func (d *Device) readMonitor(changed chan<- struct{}) {
	defer d.tasks.Done()
	defer close(changed)
	buf := make([]byte, 1<<16)
	for {
		if _, err := d.monitor.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
			if d.ctx.Err() == nil {
				d.log.Error("routes no longer follow the FIB", "err", err)
			}
			return
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
			d.follow()
		}
	}
}
