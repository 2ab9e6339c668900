package registration

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Role decides what a Node accepts and how it reads address lists.
type Role uint8

// Roles. The zero Role is invalid.
const (
	RoleInvalid    Role = iota
	RoleManagement      // answers hypervisors; sends pairs to hypervisors and routers
	RoleHypervisor      // answers the management node only
	RoleRouter          // answers the management node only; never registers VMs
)

func (r Role) String() string {
	switch r {
	case RoleManagement:
		return "management"
	case RoleHypervisor:
		return "hypervisor"
	case RoleRouter:
		return "router"
	}
	return fmt.Sprintf("invalid(%d)", uint8(r))
}

// Offset is how far the management node's clock is ahead of ours.
type Offset = time.Duration

// Config configures a Node. Zero durations mean the defaults named.
type Config struct {
	Role Role
	Self netip.Addr // own locator
	// Management lists the locators of the management node(s), for hypervisors
	// and routers: the only ones whose Requests they answer.
	Management []netip.Addr

	Window time.Duration // timestamp window, default 2 s
	// FirstRetry is the first retransmission interval of a first registration
	// (Handoff Indicator 1), default 1.5 s, or one and a half times Retry where
	// that is given (RFC 6275 section 12, InitialBindackTimeoutFirstReg).
	FirstRetry  time.Duration
	Retry       time.Duration // that of every other message, default 1 s; doubles
	MaxRetry    time.Duration // default 32 s
	Heartbeat   time.Duration // default 1 s; negative = none
	Misses      int           // default 3
	MaxOffset   time.Duration // largest change of the clock offset after the first, default 60 s
	CachedReply time.Duration // how long a Reply is kept for repetitions, default 64 s
	MaxOpen     int           // Requests in flight, Asks, and cached Replies a peer may hold, default and at most 4096
	// MaxOrders bounds the VMs whose ordering state one peer may hold, default
	// 65536. What a timestamp outside the window protects is forgotten first.
	MaxOrders    int
	RestartCount uint32 // own Restart Counter
	// RequireReplayOption refuses Requests without option 10 (status 145).
	RequireReplayOption bool
	// Seed feeds the jitter, the first sequence numbers and the nonces, so that
	// a simulation can be replayed. A daemon takes it from crypto/rand.
	Seed uint64
	// LastTimestamp restores "M's own timestamps never go back".
	LastTimestamp time.Time
	// Enterprise is the number in vendor options, default 32473.
	Enterprise uint32
}

// withDefaults fills in the defaults and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if c.Role == RoleInvalid || c.Role > RoleRouter {
		return c, errors.New("registration: config: no role")
	}
	if !c.Self.IsValid() || c.Self.IsUnspecified() {
		return c, errors.New("registration: config: no own locator")
	}
	if c.Role != RoleManagement && len(c.Management) == 0 {
		return c, fmt.Errorf("registration: config: a %s needs the management node's locator", c.Role)
	}
	if c.FirstRetry == 0 {
		c.FirstRetry = c.Retry * 3 / 2
	}
	def(&c.Window, 2*time.Second)
	def(&c.FirstRetry, 1500*time.Millisecond)
	def(&c.Retry, time.Second)
	def(&c.MaxRetry, 32*time.Second)
	def(&c.Heartbeat, time.Second)
	def(&c.Misses, 3)
	def(&c.MaxOffset, time.Minute)
	def(&c.CachedReply, 64*time.Second)
	def(&c.MaxOpen, 4096)
	def(&c.MaxOrders, 65536)
	for name, d := range map[string]time.Duration{
		"window": c.Window, "first retry": c.FirstRetry, "retry": c.Retry,
		"max retry": c.MaxRetry, "max offset": c.MaxOffset, "cached reply": c.CachedReply,
		"misses": time.Duration(c.Misses), "max open": time.Duration(c.MaxOpen),
		"max orders": time.Duration(c.MaxOrders),
	} {
		if d < 0 {
			return c, fmt.Errorf("registration: config: %s is negative", name)
		}
	}
	// Sequence numbers in flight must stay a small part of the 65536.
	c.MaxOpen = min(c.MaxOpen, maxInFlight)
	return c, nil
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
