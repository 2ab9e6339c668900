package tc

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// explain tells apart what the kernel calls by one number: EINVAL is a missing
// qdisc as well as a mistake; ENODEV a missing port, a missing target, or
// something that a driver misses.
func (c *Conn) explain(j *job) {
	ports, links := map[int32]error{}, map[int32]error{}
	for i, err := range j.errs {
		var e *Error
		if !errors.As(err, &e) || e.Errno != unix.EINVAL && !missing(e.Errno) {
			continue
		}
		port := e.Filter.Port
		found := once(ports, port, c.attached)
		gone := errors.Is(found, hwabstraction.ErrPortGone)
		switch {
		case e.Op == Delete && (gone || errors.Is(found, ErrDetached)):
			j.errs[i] = nil
		case gone:
			e.Gone, e.sentinel = port, hwabstraction.ErrPortGone
		case !missing(e.Errno):
			e.sentinel = found
		default:
			e.sentinel = hwabstraction.ErrNotSupported
			if to := target(e.Filter); to != 0 && errors.Is(once(links, to, c.exists), hwabstraction.ErrPortGone) {
				e.Gone, e.sentinel = to, hwabstraction.ErrPortGone
			}
		}
	}
}

func missing(e syscall.Errno) bool { return e == unix.ENODEV || e == unix.ENXIO }

// once asks about a port, unless it was asked about.
func once(known map[int32]error, port int32, ask func(int32) error) error {
	if _, ok := known[port]; !ok {
		known[port] = ask(port)
	}
	return known[port]
}

// target is the port that a filter redirects to; 0 where it does not.
func target(f flower.Filter) int32 {
	for _, a := range f.Actions {
		if r, ok := a.(flower.Redirect); ok {
			return r.Port
		}
	}
	return 0
}
