package netns

import (
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// FullFrame is what every frame costs at least in a Queue, in bytes.
const FullFrame = 1514

// Queue is the token bucket before a link's transmit side. Every frame costs
// its length, but at least FullFrame bytes.
type Queue struct {
	Rate  uint32 // bytes per second; at least 1
	Burst uint32 // bytes; at least FullFrame
	Limit uint32 // bytes that may wait; what comes on top is dropped
}

// CardQueue is the queue of every link of Veth: 100 000 frames or 1.2 Gbit per
// second. The pace keeps a burst, such as the release of held packets, from
// overrunning the 256 frames of the other end's receive ring.
var CardQueue = Queue{Rate: 100_000 * FullFrame, Burst: 32 * FullFrame, Limit: 64 << 20}

// SetQueue puts the queue before the link, or changes the one that is there;
// frames that wait stay.
func (n *NS) SetQueue(index int, q Queue) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: n.tc.handle}
	req.AddData(&nl.TcMsg{
		Family: nl.FAMILY_ALL, Ifindex: int32(index),
		Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
	})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("tbf")))
	opt := nl.TcTbfQopt{Limit: q.Limit}
	opt.Rate.Rate, opt.Rate.Mpu = q.Rate, FullFrame
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_TBF_PARMS, opt.Serialize())
	// The netlink library knows the burst in ticks only, and a slow bucket's
	// does not fit that field.
	options.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(q.Burst))
	req.AddData(options)
	n.tc.mu.Lock()
	defer n.tc.mu.Unlock()
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("netns: %s: queue of link %d: %w", n.name, index, err)
	}
	return nil
}

// tcSocket is a netlink socket of its own, for requests that the library has no
// words for.
type tcSocket struct {
	mu     sync.Mutex // one request at a time
	handle *nl.SocketHandle
}

func (n *NS) openTC() error {
	s, err := nl.GetNetlinkSocketAt(vns.NsHandle(n.fd.Fd()), vns.None(), unix.NETLINK_ROUTE)
	if err == nil {
		n.tc.handle = &nl.SocketHandle{Socket: s}
	}
	return err
}
