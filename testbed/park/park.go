// Package park stops the frames that leave a link and lets them go later, in
// order and without loss, inside the kernel: the link's token bucket is changed
// between its own rate and one byte per second.
package park

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
)

// EtherType marks the frames that Park itself sends, to use up the bucket when
// it closes and to wake the queue when it opens (IEEE 802 local experimental
// 1). Whatever sits behind the link drops them.
const EtherType = 0x88b5

// closed lets one byte per second through; the bucket holds one frame, which
// Close uses up.
var closed = netns.Queue{Rate: 1, Burst: netns.FullFrame, Limit: netns.CardQueue.Limit}

// LeakAfter is how long Close stops everything: then the bucket is full again.
const LeakAfter = netns.FullFrame * time.Second

// Park is the stop valve at the outgoing side of one link. It starts open.
// Calls must not overlap.
type Park struct {
	ns    *netns.NS
	link  string
	index int
	raw   int
}

// New puts an open Park on the link. Close it before its namespace.
func New(ns *netns.NS, link string) (*Park, error) {
	index, err := ns.Index(link)
	if err != nil {
		return nil, err
	}
	p := &Park{ns: ns, link: link, index: index, raw: -1}
	err = ns.Do(func() error {
		p.raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err == nil {
		err = ns.SetQueue(index, netns.CardQueue)
	}
	if err != nil {
		p.Remove()
		return nil, fmt.Errorf("park: %s:%s: %w", ns.Name(), link, err)
	}
	return p, nil
}

// Close stops the link's outgoing frames. What was sent before Close may still
// arrive; what is sent after it does not, until LeakAfter.
func (p *Park) Close() error {
	if err := p.ns.SetQueue(p.index, closed); err != nil {
		return p.wrap("close", err)
	}
	return p.wrap("close", p.send(netns.FullFrame))
}

// Open lets everything go, oldest first, ahead of what is sent from now on.
func (p *Park) Open() error {
	if err := p.ns.SetQueue(p.index, netns.CardQueue); err != nil {
		return p.wrap("open", err)
	}
	return p.wrap("open", p.send(60))
}

// Stats are the counters of the queue.
type Stats struct {
	Packets uint32 // waiting now
	Bytes   uint32 // waiting now
	Dropped uint32 // since New: always 0, or the lab's figures are void
}

// Stats reads the queue's counters.
func (p *Park) Stats() (Stats, error) {
	l, err := p.ns.Link(p.link)
	if err != nil {
		return Stats{}, err
	}
	qdiscs, err := p.ns.Netlink().QdiscList(l)
	if err != nil {
		return Stats{}, p.wrap("stats", err)
	}
	for _, q := range qdiscs {
		a := q.Attrs()
		if q.Type() == "tbf" && a.Statistics != nil && a.Statistics.Queue != nil {
			s := a.Statistics.Queue
			return Stats{Packets: s.Qlen, Bytes: s.Backlog, Dropped: s.Drops}, nil
		}
	}
	return Stats{}, p.wrap("stats", fmt.Errorf("no token bucket on the link"))
}

// Remove gives up the socket; the queue goes with its link.
func (p *Park) Remove() {
	if p.raw >= 0 {
		unix.Close(p.raw)
		p.raw = -1
	}
}

// send puts one frame of the Park's own into the queue.
func (p *Park) send(length int) error {
	b := make([]byte, length)
	copy(b, net.HardwareAddr{0x02, 0, 0x5e, 0, 0, 0xff, 0x02, 0, 0x5e, 0, 0, 0xfe})
	b[12], b[13] = EtherType>>8, EtherType&0xff
	return unix.Sendto(p.raw, b, 0, &unix.SockaddrLinklayer{Ifindex: p.index, Halen: 6})
}

func (p *Park) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("park: %s %s:%s: %w", what, p.ns.Name(), p.link, err)
}
