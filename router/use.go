package router

import (
	"context"
	"fmt"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// Use is how much of the router's room for exceptions (a switch's TCAM, or what
// the operator allows) is taken.
type Use struct {
	Routes, Limit int
	// Refused counts the Requests answered with status 130 since the start;
	// Last says why and when the newest was.
	Refused uint64
	Last    string
	LastAt  time.Time
	// Contacts counts how often a management node was found, first or again: who
	// was told something before may have forgotten it.
	Contacts uint64
	// Version grows with every change of what Routes tells.
	Version uint64
}

// Free is how many more routes may come.
func (u Use) Free() int { return max(0, u.Limit-u.Routes) }

// use is what Server counts for Use.
type use struct {
	refused uint64
	last    string
	at      time.Time

	contacts uint64
	version  uint64
}

// refused makes a refusal known to the operator; only the status travels.
func (s *Server) refused(now time.Time, r Refused) {
	s.metrics.refused.WithLabelValues(fmt.Sprint(uint8(r.Status))).Inc()
	s.log.Warn("refused", "vm", r.VM, "status", r.Status, "reason", r.Reason)
	if r.Status == mobility.StatusResources {
		s.use.refused++
		s.use.last, s.use.at = r.Reason, now
	}
}

// Use tells how full the router is; called from any goroutine.
func (s *Server) Use(ctx context.Context) (Use, error) {
	var out Use
	ok := s.do(ctx, func(time.Time) {
		out = Use{Routes: len(s.core.routes), Limit: s.core.Limit(), Refused: s.use.refused, Last: s.use.last, LastAt: s.use.at, Contacts: s.use.contacts, Version: s.use.version}
	})
	if !ok {
		return Use{}, fmt.Errorf("router: stopping: %w", ctx.Err())
	}
	return out, nil
}
