package netns

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// makeCard gives a veth end what a network card has: one receive ring that
// keeps the order (NAPI, which the kernel turns on with GRO and uses for frames
// of a sender without TSO), and a send queue with a pace.
//
// A veth left to itself hands a frame to a queue of the CPU that sent it. That
// reorders a flow whenever its sender changes CPU, or when held frames are
// released on another CPU than new ones come in; and that queue drops frames
// beyond net.core.netdev_max_backlog, which a release reaches easily.
func (n *NS) makeCard(link string) error {
	l, err := n.Link(link)
	if err != nil {
		return err
	}
	err = n.Do(func() error {
		return errors.Join(offload(link, unix.ETHTOOL_SGRO, 1), offload(link, unix.ETHTOOL_STSO, 0))
	})
	if err != nil {
		return fmt.Errorf("netns: %s: receive ring of %s: %w", n.name, link, err)
	}
	return n.SetQueue(l.Attrs().Index, CardQueue)
}

// offload is ethtool -K for one old-style feature, in the thread's namespace.
func offload(link string, feature, value uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	setting := struct{ cmd, data uint32 }{feature, value}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&setting)}
	copy(request.name[:unix.IFNAMSIZ-1], link)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}

// LinkDrops sums what the links of the lab in the namespace, the ends of Veth,
// dropped on their own account: frames that found a ring or queue full. It is
// not a loss that anybody's forwarding decided on; a run during which it grows
// is void. Devices that a program has made, such as the queue of a hold, do not
// count: what overflows there is lost.
func (n *NS) LinkDrops() (sum uint64, err error) {
	links, err := n.nl.LinkList()
	if err != nil {
		return 0, fmt.Errorf("netns: %s: links: %w", n.name, err)
	}
	for _, l := range links {
		if l.Type() != "veth" {
			continue
		}
		if s := l.Attrs().Statistics; s != nil {
			sum += s.TxDropped + s.RxDropped
		}
		queues, err := n.nl.QdiscList(l)
		if err != nil {
			return 0, fmt.Errorf("netns: %s: queues: %w", n.name, err)
		}
		for _, q := range queues {
			if a := q.Attrs(); a.Parent == netlink.HANDLE_ROOT && a.Statistics != nil && a.Statistics.Queue != nil {
				sum += uint64(a.Statistics.Queue.Drops)
			}
		}
	}
	return sum, nil
}
