package registration

import (
	"container/list"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// peer is what the Node keeps of one other node.
type peer struct {
	addr netip.Addr

	// Requester.
	sequence uint16                   // next to be tried
	sent     map[uint16]*transmission // outstanding
	inFlight int                      // Requests with a transmission out
	waiting  []*submission            // Requests that wait for a place in flight
	wake     *timer                   // starts them after a Cancel

	// Responder.
	orders map[mobility.VMID]*order
	recent *list.List     // of *order, the least recently accepted first
	cached *list.List     // of *order with a cached Reply, oldest first
	asks   int            // Answers owed
	passed wire.Timestamp // no Request up to it is accepted, see Node.Passed

	beat         *heartbeat
	notices      map[noticeKey]*notice // ours, not yet acknowledged
	noticeNumber uint16
	heard        map[noticeKind]heardNotice // the peer's last ones
	errors       bucket                     // Binding Errors to it
}

// peer gives the state of a peer, made on first use. The transport's allow-list
// bounds how many there are.
func (n *Node) peer(a netip.Addr) *peer {
	p := n.peers[a]
	if p == nil {
		p = &peer{
			addr: a, sequence: uint16(n.rng.Uint32()), noticeNumber: uint16(n.rng.Uint32()),
			sent:   make(map[uint16]*transmission),
			orders: make(map[mobility.VMID]*order), recent: list.New(), cached: list.New(),
			notices: make(map[noticeKey]*notice), heard: make(map[noticeKind]heardNotice),
		}
		p.wake = newTimer(func(now time.Time, out []Effect) []Effect { return n.startWaiting(now, p, out) })
		n.peers[a] = p
	}
	return p
}

// bucket is a token bucket.
type bucket struct {
	tokens float64
	at     time.Time
}

// take takes a token if one is there; burst tokens at first, rate a second.
func (b *bucket) take(now time.Time, rate, burst float64) bool {
	if b.at.IsZero() {
		b.tokens = burst
	} else if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.tokens+d.Seconds()*rate, burst)
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// build encodes one message into fresh bytes: the effect's receiver keeps them.
func (n *Node) build(t wire.Type, fill func(*wire.Message)) ([]byte, error) {
	n.enc.Reset(t)
	fill(&n.enc)
	b, err := n.enc.Append(n.scratch[:0])
	if err != nil {
		return nil, err
	}
	n.scratch = b
	return slices.Clone(b), nil
}
