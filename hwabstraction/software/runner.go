package software

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// runnerQueue is how many calls may wait for a runner before post blocks: more
// than the VMs that switch at the same moment.
const runnerQueue = 1024

// runner runs short functions on a thread of its own, in the network namespace
// and, where the agent may, at real-time priority: the moment of a switch must
// not wait for whatever else keeps the processors busy. The thread's affinity is
// the functions' to change.
//
// The thread waits in the kernel, for an eventfd: a write there has it run within
// microseconds. Go's scheduler would need another thread first, of ordinary
// priority, to see that there is something to do.
type runner struct {
	allowed unix.CPUSet // the processors that it started with
	calls   chan func()
	fd      int      // eventfd, for the thread
	wake    *os.File // the same, for everybody else: safe against close
	quit    atomic.Bool
	done    chan struct{}
}

// startRunner starts the thread; it ends with close.
func startRunner(ns *namespace) (*runner, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	r := &runner{calls: make(chan func(), runnerQueue), fd: fd, wake: os.NewFile(uintptr(fd), "runner"), done: make(chan struct{})}
	started := make(chan error)
	go r.run(ns, started)
	if err := <-started; err != nil {
		return nil, errors.Join(err, r.wake.Close())
	}
	return r, nil
}

// run never unlocks its thread: it dies with the goroutine.
func (r *runner) run(ns *namespace, started chan<- error) {
	defer close(r.done)
	runtime.LockOSThread()
	err := unix.Setns(ns.fd(), unix.CLONE_NEWNET)
	if err == nil {
		err = unix.SchedGetaffinity(0, &r.allowed)
	}
	if err == nil {
		// Without the right to it, it runs as everything else does.
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{
			Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
		}, 0)
	}
	started <- err
	count := make([]byte, 8)
	for err == nil && !r.quit.Load() {
		if _, rerr := unix.Read(r.fd, count); rerr != nil {
			continue // interrupted
		}
		r.drain()
	}
}

// drain runs what was posted.
func (r *runner) drain() {
	for {
		select {
		case f := <-r.calls:
			f()
		default:
			return
		}
	}
}

var one = binary.NativeEndian.AppendUint64(nil, 1)

// post has f run after what was posted before, and does not wait for it. After
// close it does nothing.
func (r *runner) post(f func()) {
	select {
	case r.calls <- f:
		_, _ = r.wake.Write(one) // fails only after close, when done tells it
	case <-r.done:
	}
}

// do runs f and waits for it. ErrClosed: the thread has ended.
func (r *runner) do(f func() error) error {
	ret := make(chan error, 1)
	r.post(func() { ret <- f() })
	select {
	case err := <-ret:
		return err
	case <-r.done:
		return hwabstraction.ErrClosed
	}
}

// close ends the thread after the functions that wait. It is called once.
func (r *runner) close() error {
	r.quit.Store(true)
	_, _ = r.wake.Write(one)
	<-r.done
	return r.wake.Close()
}

// onCPU ties the calling thread to a processor.
func onCPU(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}
