package software

import (
	"runtime"

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
type runner struct {
	allowed unix.CPUSet // the processors that it started with
	calls   chan func()
	quit    chan struct{}
	done    chan struct{}
}

// startRunner starts the thread; it ends with close.
func startRunner(ns *namespace) (*runner, error) {
	r := &runner{calls: make(chan func(), runnerQueue), quit: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error)
	go r.run(ns, started)
	return r, <-started
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
	for err == nil {
		select {
		case f := <-r.calls:
			f()
		case <-r.quit:
			return
		}
	}
}

// post has f run after what was posted before, and does not wait for it. After
// close it does nothing.
func (r *runner) post(f func()) {
	select {
	case r.calls <- f:
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

// close ends the thread after the function that it runs. It is called once.
func (r *runner) close() {
	close(r.quit)
	<-r.done
}

// onCPU ties the calling thread to a processor.
func onCPU(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}
