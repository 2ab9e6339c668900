package igp

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// Sought says which of zebra's routes count.
type Sought struct {
	// Protocols, if any, are those whose routes count, be they selected and
	// installed or not: for a router whose kernel does not take VMs' host routes
	// from the IGP. None: what zebra has selected and says is installed counts,
	// whoever it is from.
	Protocols []Protocol
}

// In reports whether one of the routes counts.
func (s Sought) In(routes []Route) bool {
	return slices.ContainsFunc(routes, func(r Route) bool {
		if len(s.Protocols) == 0 {
			return r.Selected && r.Installed
		}
		return slices.ContainsFunc(s.Protocols, func(p Protocol) bool { return p.String() == r.Protocol })
	})
}

// How often zebra is asked while somebody waits, and how long it may be silent,
// as when it is restarted, before that is an error.
const (
	firstLook   = 5 * time.Millisecond // doubling
	lastLook    = 100 * time.Millisecond
	maySilent   = 2 * time.Second
	patientLook = time.Second // after
	eagerFor    = 15 * time.Second
)

// Await asks until zebra has a route of the prefix that counts, or has none, or
// ctx ends.
func Await(ctx context.Context, s Shell, p netip.Prefix, sought Sought, there bool) error {
	begun, heard, wait := time.Now(), time.Now(), firstLook
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		switch routes, err := Routes(ctx, s, p); {
		case err == nil && sought.In(routes) == there:
			return nil
		case err == nil:
			heard = time.Now()
		case time.Since(heard) > maySilent:
			return err
		}
		timer.Reset(wait)
		if wait = min(2*wait, lastLook); time.Since(begun) > eagerFor {
			wait = patientLook
		}
	}
}
