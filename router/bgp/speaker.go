package bgp

import (
	"context"
	"net/netip"
)

// Speaker speaks BGP. Its methods may be called from any goroutine once Start
// has returned.
type Speaker interface {
	// Start begins to speak to the peers and tells events of what comes, from
	// one goroutine at a time. After a MissingError it may be called again; until
	// then only Sessions may be called.
	Start(ctx context.Context, events Events) error
	// Announce gives routes out, replacing those of the same prefixes.
	Announce(as []Announcement) error
	// Withdraw takes back what was announced; what was not is no error.
	Withdraw(ps []netip.Prefix) error
	// Sessions tells of every configured peer, in the configuration's order.
	Sessions(ctx context.Context) ([]Session, error)
	// Stop ends all sessions. Gracefully means that peers keep the routes for a
	// while: without a NOTIFICATION, where graceful restart is agreed on.
	Stop(ctx context.Context, gracefully bool) error
}

// Events takes what a Speaker hears. Its methods must not block.
type Events interface {
	Updates(us []Update)
	// EndOfRIB: the peer has sent everything it had (RFC 4724 section 2).
	EndOfRIB(peer netip.Addr)
	// State: a session has changed.
	State(peer netip.Addr, established bool, reason string)
}
