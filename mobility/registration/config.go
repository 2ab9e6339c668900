package registration

import (
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

// Offset is how far the management node's clock is ahead of ours.
type Offset = time.Duration

// Config configures a Node. Zero durations mean the defaults named.
type Config struct {
	Role Role
	Self netip.Addr // own locator
	// Management lists the locators of the management node(s), for hypervisors
	// and routers: the only ones whose Requests they answer.
	Management []netip.Addr

	Window       time.Duration // timestamp window, default 2 s
	FirstRetry   time.Duration // default 1.5 s
	Retry        time.Duration // default 1 s, doubling
	MaxRetry     time.Duration // default 32 s
	Heartbeat    time.Duration // default 1 s; negative = none
	Misses       int           // default 3
	MaxOffset    time.Duration // bound of the clock offset after the first, default 60 s
	CachedReply  time.Duration // how long a Reply is kept for repetitions, default 64 s
	MaxOpen      int           // Asks and cached Replies a peer may hold, default 4096
	RestartCount uint32        // own Restart Counter
	// Seed feeds the jitter, the first sequence numbers and the nonces, so that
	// a simulation can be replayed. A daemon takes it from crypto/rand.
	Seed uint64
	// LastTimestamp restores "M's own timestamps never go back".
	LastTimestamp time.Time
	// Enterprise is the number in vendor options, default 32473.
	Enterprise uint32
}
