package tc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// errSilent is about a request that was sent alone and not answered.
var errSilent = errors.New("the kernel does not answer")

// settle reads the tables of the ports that lost requests of a batch are about,
// and applies again what is not there yet, half as many at a time as were sent.
func (c *Conn) settle(ctx context.Context, j *job, sent, lost []int) {
	last := map[place]int{} // the last request for a place
	for _, i := range sent {
		if f := j.requests[i].Filter; f.Handle != 0 {
			last[placeOf(f)] = i
		}
	}
	tables := map[int32]table{}
	var todo []int
	for _, i := range lost {
		r := &j.requests[i]
		if n, ok := last[placeOf(r.Filter)]; ok && n != i {
			continue // a later one says what is to be
		}
		t, ok := tables[r.Filter.Port]
		if !ok {
			t = c.tableOf(ctx, r.Filter.Port)
			tables[r.Filter.Port] = t
		}
		if done, err := t.settled(r); done {
			j.errs[i] = err
		} else {
			todo = append(todo, i)
		}
	}
	if len(sent) == 1 {
		j.fill(todo, fmt.Errorf("tc: %w", errSilent))
	} else {
		c.apply(ctx, j, todo, len(sent)/2)
	}
	for _, i := range lost {
		if n, ok := last[placeOf(j.requests[i].Filter)]; ok {
			j.errs[i] = j.errs[n]
		}
	}
}

// table is what a port has, or why that is not known.
type table struct {
	filters []flower.Status
	err     error
}

func (c *Conn) tableOf(ctx context.Context, port int32) table {
	filters, err := c.list(ctx, port, nil)
	return table{filters, err}
}

// settled reports whether nothing is left to do for a request, and its error.
func (t table) settled(r *Request) (bool, error) {
	gone := errors.Is(t.err, hwabstraction.ErrPortGone)
	switch {
	case gone && r.Op == Delete:
		return true, nil
	case t.err != nil:
		return true, t.err
	case r.Op == Delete:
		return !slices.ContainsFunc(t.filters, func(s flower.Status) bool { return placeOf(s.Filter) == placeOf(r.Filter) }), nil
	}
	return slices.ContainsFunc(t.filters, func(s flower.Status) bool { return s.Holds(r.Filter) }), nil
}
