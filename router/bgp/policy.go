package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/router"
)

// Announcement is one host route as it is given out.
type Announcement struct {
	Prefix  netip.Prefix
	NextHop netip.Addr // unspecified: each session's own address
	Tags    Tags
	To      []string // names of the peers, sorted; NO_EXPORT is added where a peer asks for it
}

// same tells whether nothing needs to be sent.
func (a *Announcement) same(b *Announcement) bool {
	return a.Prefix == b.Prefix && a.NextHop == b.NextHop && slices.Equal(a.To, b.To) &&
		slices.Equal(a.Tags.Standard, b.Tags.Standard) && slices.Equal(a.Tags.Large, b.Tags.Large)
}

// Update is what a peer says of one prefix.
type Update struct {
	Peer     netip.Addr
	Prefix   netip.Prefix
	Withdraw bool
	NextHop  netip.Addr
	Tags     Tags
	Path     []uint32 // AS numbers, nearest first
}

// Reasons of a refusal.
var (
	ErrNotInKernel  = errors.New("is not in this router's kernel")
	ErrOutOfRange   = errors.New("lies outside the configured ranges")
	ErrUnknownSite  = errors.New("no configured site has its locator")
	ErrNoNextHop    = errors.New("its site has no next hop of this family")
	ErrNobody       = errors.New("no peer is told of it")
	ErrUnknownPeer  = errors.New("the peer is not configured to be listened to")
	ErrNotHostRoute = errors.New("is not a host route")
	ErrCommunity    = errors.New("has none of the operator's communities")
	ErrBadNextHop   = errors.New("its next hop cannot be one")
	ErrFull         = errors.New("the limit of imported routes is reached")
)

// Policy decides what is told to whom and what is believed. It never changes.
type Policy struct{ cfg *Config }

// NewPolicy returns the Policy of a checked Config.
func NewPolicy(c *Config) *Policy { return &Policy{c} }

// Export says how a route is announced; the error says why it is not.
func (p *Policy) Export(r *router.Route) (*Announcement, error) {
	prefix := netip.PrefixFrom(r.Address, r.Address.BitLen())
	if r.Err != "" || r.Since.IsZero() {
		return nil, fmt.Errorf("%s %w", prefix, ErrNotInKernel)
	}
	if !within(p.cfg.Ranges, r.Address) {
		return nil, fmt.Errorf("%s %w", prefix, ErrOutOfRange)
	}
	site, own := p.site(r.Locator)
	if site == nil {
		return nil, fmt.Errorf("%s towards %s: %w", prefix, r.Locator, ErrUnknownSite)
	}
	a := &Announcement{Prefix: prefix, Tags: p.cfg.Put, To: p.receivers(r.Address, own)}
	if len(a.To) == 0 {
		return nil, fmt.Errorf("%s: %w", prefix, ErrNobody)
	}
	hop, ok := site.nextHop(r.Address)
	switch {
	case ok:
		a.NextHop = hop
	case own:
		a.NextHop = unspecified(r.Address)
	default:
		return nil, fmt.Errorf("%s in site %q: %w", prefix, site.Name, ErrNoNextHop)
	}
	return a, nil
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// site finds the site that a locator is in.
func (p *Policy) site(locator netip.Addr) (s *Site, own bool) {
	if within(p.cfg.Own.Locators, locator) {
		return &p.cfg.Own, true
	}
	for i := range p.cfg.Sites {
		if within(p.cfg.Sites[i].Locators, locator) {
			return &p.cfg.Sites[i], false
		}
	}
	return nil, false
}

func (p *Policy) receivers(a netip.Addr, own bool) []string {
	var out []string
	for _, x := range p.cfg.Peers {
		if x.Address.Is4() == a.Is4() && (x.Announce == ScopeAll || own && x.Announce == ScopeArrived) {
			out = append(out, x.Name)
		}
	}
	slices.Sort(out)
	return out
}

// Import says whether a peer's route is believed; the error says why not.
func (p *Policy) Import(u *Update) error {
	peer := p.cfg.peer(u.Peer)
	switch {
	case peer == nil || !peer.Accept:
		return fmt.Errorf("%s: %w", u.Prefix, ErrUnknownPeer)
	case !u.Prefix.IsSingleIP():
		return fmt.Errorf("%s %w", u.Prefix, ErrNotHostRoute)
	case !within(p.cfg.Ranges, u.Prefix.Addr()):
		return fmt.Errorf("%s %w", u.Prefix, ErrOutOfRange)
	case !u.Tags.Shares(p.cfg.Want):
		return fmt.Errorf("%s %w (it has %v)", u.Prefix, ErrCommunity, u.Tags.Strings())
	case !u.NextHop.IsValid(), u.NextHop.IsUnspecified(), u.NextHop.IsMulticast(), u.NextHop.IsLoopback(), u.NextHop == u.Prefix.Addr():
		return fmt.Errorf("%s: %w: %s", u.Prefix, ErrBadNextHop, u.NextHop)
	}
	return nil
}
