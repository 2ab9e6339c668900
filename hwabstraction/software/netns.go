package software

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace runs functions on one thread that has entered a network namespace.
// The thread ends with close.
type namespace struct {
	file  *os.File
	calls chan func()
	done  chan struct{}
}

// enter opens the namespace behind fd, or the calling thread's.
func enter(fd int) (*namespace, error) {
	path := "/proc/thread-self/ns/net"
	if fd > 0 {
		path = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	runtime.LockOSThread()
	f, err := os.Open(path)
	runtime.UnlockOSThread()
	if err != nil {
		return nil, fmt.Errorf("software: network namespace: %w", err)
	}
	n := &namespace{file: f, calls: make(chan func()), done: make(chan struct{})}
	started := make(chan error, 1)
	go n.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("software: enter network namespace: %w", err)
	}
	return n, nil
}

// run never unlocks its thread: it dies with the goroutine.
func (n *namespace) run(started chan<- error) {
	defer close(n.done)
	runtime.LockOSThread()
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		n.file.Close()
		started <- err
		return
	}
	started <- nil
	for f := range n.calls {
		f()
	}
	n.file.Close()
}

// do runs f inside. It may be called by any goroutine, not from within f.
func (n *namespace) do(f func() error) error {
	ret := make(chan error, 1)
	n.calls <- func() { ret <- f() }
	return <-ret
}

func (n *namespace) fd() int { return int(n.file.Fd()) }

func (n *namespace) close() {
	close(n.calls)
	<-n.done
}

// openIn calls open inside and returns what it gives.
func openIn[T any](n *namespace, open func() (T, error)) (T, error) {
	var v T
	err := n.do(func() (err error) {
		v, err = open()
		return err
	})
	return v, err
}
