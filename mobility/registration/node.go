package registration

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility/wire"
)

// Node is one program's end of all its conversations. It is for one goroutine;
// every method is immediate. Effects are appended to out and returned in the
// order in which they are to be done.
type Node struct {
	cfg    Config
	clock  clock
	rng    *rand.Rand
	timers timers
	now    time.Time // of the latest call that told it

	peers  map[netip.Addr]*peer
	open   map[Token]*submission
	asks   map[Handle]*ask
	handle Handle

	enc     wire.Message
	scratch []byte // of the message being written
}

// Inbound is one message as the transport received it. Message and Bytes are
// valid during the call of Receive only.
type Inbound struct {
	From    netip.Addr // the sender's locator, on the allow-list
	Message *wire.Message
	Bytes   []byte // the Mobility Header, for "same bytes"
	Auth    Auth
}

// NewNode makes a Node. The error names the field of cfg that cannot be used.
func NewNode(cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg:   cfg,
		rng:   rand.New(rand.NewPCG(cfg.Seed, 0x6470_6d69_7021)),
		peers: make(map[netip.Addr]*peer),
		open:  make(map[Token]*submission),
		asks:  make(map[Handle]*ask),
	}
	n.clock = clock{master: cfg.Role == RoleManagement, limit: cfg.MaxOffset}
	if !cfg.LastTimestamp.IsZero() {
		n.clock.last = wire.TimestampOf(cfg.LastTimestamp)
	}
	n.enc.Enterprise = cfg.Enterprise
	return n, nil
}

// Receive takes one message of an allow-listed peer.
//
// A Request that passes every check needing no knowledge of VMs becomes an Ask.
// How its addresses are read depends on who reads: a management node reads
// slots; a hypervisor or router reads pairs when a move or an epoch option is
// present, or when option 3 is and every family has an even number (the draft's
// form), else slots. The addresses of a Reply are pairs when the Request's were.
func (n *Node) Receive(now time.Time, in Inbound, out []Effect) []Effect {
	n.saw(now)
	switch in.Message.Type {
	case wire.TypeRequest:
		return n.receiveRequest(now, in, out)
	case wire.TypeReply:
		return n.receiveReply(now, in, out)
	case wire.TypeHeartbeat:
		return n.receiveHeartbeat(now, in, out)
	case wire.TypeUpdateNotification, wire.TypeRevocation, wire.TypeUpdateAck:
		return n.receiveNotice(now, in, out)
	case wire.TypeBindingError:
		return count(out, CountBindingErrorReceived)
	}
	return n.UnknownType(now, in.From, len(in.Bytes), out)
}

// Tick does what is due at now. Call it when Next says so; earlier calls do
// nothing, later ones do it late.
func (n *Node) Tick(now time.Time, out []Effect) []Effect {
	n.saw(now)
	for t := n.timers.due(now); t != nil; t = n.timers.due(now) {
		out = t.fire(now, out)
	}
	return out
}

// Next gives the next moment at which Tick has work; false when there is none.
// It may lie in the past.
func (n *Node) Next() (time.Time, bool) { return n.timers.next() }

// Offset gives how far the management node's clock is ahead of ours.
func (n *Node) Offset() Offset { return n.clock.offset }

// Synced reports whether the offset was measured since the start.
func (n *Node) Synced() bool { return n.clock.master || n.clock.synced }

// LastTimestamp gives the newest timestamp used in a message. A management node
// keeps it (or a bound above it) durably and gives it back in
// Config.LastTimestamp.
func (n *Node) LastTimestamp() time.Time { return n.clock.last.Time() }

func (n *Node) saw(now time.Time) {
	if now.After(n.now) {
		n.now = now
	}
}

// jitter gives d plus or minus 10 %.
func (n *Node) jitter(d time.Duration) time.Duration { return spread(d, n.rng.Float64()) }

func (n *Node) isManagement(a netip.Addr) bool { return slices.Contains(n.cfg.Management, a) }

func authentic(a Auth) bool { return a == AuthOK || a == AuthNotRequired }
