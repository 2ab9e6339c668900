package software

import (
	"golang.org/x/sys/unix"
)

// allocator hands out indices of a pinned array. An index that was freed is
// handed out again only after a grace period: a program may still be reading.
type allocator struct {
	next, size uint32   // indices from next on were never used
	free       []uint32 // a grace period has passed
	limbo      []uint32
	reach      func(uint32) error // called before an index is given out for the first time; may be nil
}

// take returns an index; false when all are in use, or there is no memory to
// reach one.
func (a *allocator) take() (uint32, bool) {
	if len(a.free) == 0 && a.next >= a.size && len(a.limbo) > 0 {
		grace()
		a.free, a.limbo = a.limbo, nil
	}
	if n := len(a.free); n > 0 {
		i := a.free[n-1]
		a.free = a.free[:n-1]
		return i, true
	}
	if a.next >= a.size || a.reach != nil && a.reach(a.next) != nil {
		return 0, false
	}
	a.next++
	return a.next - 1, true
}

func (a *allocator) give(i uint32) { a.limbo = append(a.limbo, i) }

// grace waits until every program that ran before has ended.
func grace() { unix.Syscall(unix.SYS_MEMBARRIER, 1, 0, 0) } // MEMBARRIER_CMD_GLOBAL: synchronize_rcu
