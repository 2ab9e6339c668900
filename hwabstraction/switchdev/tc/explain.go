package tc

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// explain tells apart what the kernel calls by one number: EINVAL is a missing
// qdisc as well as a mistake, ENODEV a missing port as well as a missing target.
func (c *Conn) explain(j *job) {
	ports := map[int32]error{}
	for i, err := range j.errs {
		var e *Error
		if !errors.As(err, &e) || e.Errno != unix.EINVAL && e.Errno != unix.ENODEV {
			continue
		}
		port := e.Filter.Port
		found, asked := ports[port]
		if !asked {
			found = c.attached(port)
			ports[port] = found
		}
		gone := errors.Is(found, hwabstraction.ErrPortGone)
		switch {
		case e.Op == Delete && (gone || errors.Is(found, ErrDetached)):
			j.errs[i] = nil
		case e.Errno == unix.ENODEV:
			e.Gone = port
			if !gone {
				e.Gone = target(e.Filter)
			}
		case found != nil:
			e.sentinel = found
			if gone {
				e.Gone = port
			}
		}
	}
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
