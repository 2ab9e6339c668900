package bgp

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// Given is a held route and what became of it towards the peers.
type Given struct {
	Announcement
	Withheld error // why it is not announced
	Since    time.Time
}

// Counts is how much there is of everything.
type Counts struct {
	Announced, Withheld     int
	Imported, ImportLimit   int
	Sessions, SessionsAlive int
}

// Sessions tells of each peer; called from any goroutine.
func (b *Border) Sessions(ctx context.Context) ([]Session, error) {
	out, err := b.speaker.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	err = b.inLoop(ctx, func() {
		for i := range out {
			s := &out[i]
			s.Accepted, s.Refused = b.table.Count(s.Peer.Address)
			s.Stale = s.State != Established && s.Accepted > 0
			for _, a := range b.given {
				if s.State == Established && slices.Contains(a.To, s.Peer.Name) {
					s.Announced++
				}
			}
		}
	})
	return out, err
}

// Learned lists what the peers have said; called from any goroutine.
func (b *Border) Learned(ctx context.Context) (out []Learned, err error) {
	err = b.inLoop(ctx, func() { out = b.table.List() })
	return out, err
}

// Given lists what the peers are told, and what not and why, by prefix; called
// from any goroutine.
func (b *Border) Given(ctx context.Context) (out []Given, err error) {
	err = b.inLoop(ctx, func() {
		for _, a := range b.given {
			out = append(out, Given{Announcement: a})
		}
		for p, w := range b.withheld {
			out = append(out, Given{Announcement: Announcement{Prefix: p}, Withheld: w.reason, Since: w.since})
		}
	})
	slices.SortFunc(out, func(a, b Given) int { return comparePrefix(a.Prefix, b.Prefix) })
	return out, err
}

// Counts counts; called from any goroutine.
func (b *Border) Counts(ctx context.Context) (Counts, error) {
	c := Counts{Sessions: len(b.cfg.Peers)}
	ss, err := b.speaker.Sessions(ctx)
	if err != nil {
		return c, err
	}
	for _, s := range ss {
		if s.State == Established {
			c.SessionsAlive++
		}
	}
	return c, b.inLoop(ctx, func() {
		c.Announced, c.Withheld = len(b.given), len(b.withheld)
		c.Imported, c.ImportLimit = b.table.Used(), b.table.Limit()
	})
}

// PeerName names a configured peer; its address where it is not configured.
func (b *Border) PeerName(a netip.Addr) string {
	if p := b.cfg.peer(a); p != nil {
		return p.Name
	}
	return a.String()
}

// ASN and RouterID are this router's.
func (b *Border) ASN() uint32 { return b.cfg.ASN }

// RouterID is this router's BGP identifier.
func (b *Border) RouterID() netip.Addr { return b.cfg.RouterID }
