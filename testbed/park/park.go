// Package park stops the frames that leave a link and lets them go later, in
// order and without loss, inside the kernel: a token bucket whose rate is
// changed between one byte per second and practically unlimited.
package park

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
)

// EtherType marks the frames that Park itself sends, to use up the bucket when
// it closes and to wake the queue when it opens (IEEE 802 local experimental
// 1). Whatever sits behind the link drops them.
const EtherType = 0x88b5

// The bucket holds one full frame, so that Close can empty it with one. At one
// byte per second the shortest frame passes after LeakAfter seconds.
const (
	frame     = 1514
	closedBps = 1
	openBps   = 4_000_000_000
	openBurst = 4 << 20
	limit     = 64 << 20 // bytes of skb payload a closed Park keeps
)

// LeakAfter is the longest time in seconds that Close stops everything: after
// it a frame of the smallest size would pass.
const LeakAfter = 42

// Park is the stop valve at the outgoing side of one link. It starts open.
// Calls must not overlap.
type Park struct {
	ns    *netns.NS
	link  string
	index int
	nl    *nl.SocketHandle
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
		s, err := nl.GetNetlinkSocketAt(vns.None(), vns.None(), unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		p.nl = &nl.SocketHandle{Socket: s}
		p.raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err == nil {
		err = p.set(unix.NLM_F_CREATE|unix.NLM_F_REPLACE, openBps, openBurst)
	}
	if err != nil {
		p.Remove()
		return nil, fmt.Errorf("park: %s:%s: %w", ns.Name(), link, err)
	}
	return p, nil
}

// Close stops the link's outgoing frames. What was sent before Close may still
// arrive; what is sent after it does not, for LeakAfter seconds.
func (p *Park) Close() error {
	if err := p.set(0, closedBps, frame); err != nil {
		return p.wrap("close", err)
	}
	return p.wrap("close", p.send(frame))
}

// Open lets everything go, oldest first, ahead of what is sent from now on.
func (p *Park) Open() error {
	if err := p.set(0, openBps, openBurst); err != nil {
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

// Remove gives up the sockets; the queue goes with its link.
func (p *Park) Remove() {
	if p.nl != nil {
		p.nl.Close()
		p.nl = nil
	}
	if p.raw >= 0 {
		unix.Close(p.raw)
		p.raw = -1
	}
}

// set creates or changes the bucket. The netlink library cannot give the burst
// in bytes, and in ticks a slow bucket's does not fit the field.
func (p *Park) set(flags int, bps, burst uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, flags|unix.NLM_F_ACK)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: p.nl}
	req.AddData(&nl.TcMsg{
		Family: nl.FAMILY_ALL, Ifindex: int32(p.index),
		Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
	})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("tbf")))
	opt := nl.TcTbfQopt{Limit: limit}
	opt.Rate.Rate = bps
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_TBF_PARMS, opt.Serialize())
	options.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(burst))
	req.AddData(options)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
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
