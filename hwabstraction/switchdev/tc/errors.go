package tc

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// ErrDetached means that a port has no clsact qdisc: whatever filters it had are
// gone, and Attach brings it back.
var ErrDetached = errors.New("tc: the port has no clsact qdisc")

// ErrForeign means that something else sits where the clsact qdisc belongs.
var ErrForeign = errors.New("tc: the port's ingress is somebody else's")

// Error is the kernel's refusal of one request. It wraps the error number and,
// where the contract has one for it, the sentinel: ErrPortGone, ErrNotSupported,
// ErrTableFull; or ErrDetached.
type Error struct {
	Op     Op
	Filter flower.Filter
	Errno  syscall.Errno
	Reason string // the kernel's own words; "" = none
	// Gone is the port that is not there, where ErrPortGone is wrapped: the
	// filter's own, with which all its filters went, or one that it redirects to.
	Gone int32

	sentinel error
}

func (e *Error) Error() string {
	f := e.Filter
	s := fmt.Sprintf("tc: %s filter of port %d, chain %d, priority %d, handle %#x: %v", e.Op, f.Port, f.Chain, f.Priority, f.Handle, e.Errno)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	switch {
	case e.sentinel == nil:
		return s
	case e.Gone != 0:
		return fmt.Sprintf("%s (%v: %d)", s, e.sentinel, e.Gone)
	}
	return s + " (" + e.sentinel.Error() + ")"
}

// Unwrap gives the error number, and the sentinel where there is one.
func (e *Error) Unwrap() []error {
	if e.sentinel == nil {
		return []error{e.Errno}
	}
	return []error{e.sentinel, e.Errno}
}

// Unfit reports whether an error is one that the same filter may not meet where
// less is asked of the hardware: it lacks the feature, has no room, or is busy.
func Unfit(err error) bool {
	return errors.Is(err, hwabstraction.ErrNotSupported) || errors.Is(err, hwabstraction.ErrTableFull) || errors.Is(err, unix.EBUSY)
}

// sentinels are what the kernel's and the drivers' refusals mean.
var sentinels = map[syscall.Errno]error{
	unix.EOPNOTSUPP: hwabstraction.ErrNotSupported,
	unix.ENOENT:     hwabstraction.ErrNotSupported, // of a put: the kernel lacks the classifier or an action
	unix.ENODEV:     hwabstraction.ErrPortGone,
	unix.ENXIO:      hwabstraction.ErrPortGone,
	unix.ENOSPC:     hwabstraction.ErrTableFull,
	unix.ENOMEM:     hwabstraction.ErrTableFull, // mlx5: no room in the firmware's tables
	unix.ENOBUFS:    hwabstraction.ErrTableFull,
}

// refusal is the error of a request that the kernel has answered; nil where the
// filter now is, or no longer is.
func refusal(r *Request, a answer) error {
	switch {
	case a.errno == 0:
		return nil
	case r.Op == Delete && (a.errno == unix.ENOENT || a.errno == unix.ENODEV):
		return nil
	}
	return &Error{Op: r.Op, Filter: r.Filter, Errno: a.errno, Reason: a.reason, sentinel: sentinels[a.errno]}
}
