package tc

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// Op is what is to be done with a filter.
type Op uint8

// What can be done. The zero Op is invalid.
const (
	Put     Op = iota + 1 // add: an error that wraps unix.EEXIST where one of the same place and handle is
	Replace               // put in place of the one with the same handle, or where none is
	Delete                // by port, chain, priority, protocol and handle; absent is no error
)

func (o Op) String() string {
	switch o {
	case Put:
		return "put"
	case Replace:
		return "replace"
	case Delete:
		return "delete"
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// Request is one change.
type Request struct {
	Op     Op
	Filter flower.Filter
}

// Conn speaks with the kernel about filters of one network namespace. Methods may
// be called concurrently: one that reads does not wait for one that writes, and
// one that writes waits for at most a batch of another.
type Conn struct {
	write, read   talk
	unheard, less atomic.Uint64 // batches whose answers were lost, that were sent in parts
}

// Mended counts batches that did not go as they should, and whose requests were
// carried out nevertheless. It has the form of hwabstraction.Mender.
func (c *Conn) Mended() map[string]uint64 {
	return map[string]uint64{"batch_unanswered": c.unheard.Load(), "batch_too_large": c.less.Load()}
}

// talk is a conversation: a request, and its answer to the end.
type talk struct {
	// turn has a value while nobody speaks. It guards all that follows. Unlike
	// with a mutex, who has waited longest is next: one filter that must go at
	// once waits for one batch, not for thousands of filters.
	turn   chan struct{}
	socket socket
	seq    uint32
	buf    []byte // a batch
	rcv    []byte
}

// socket is a netlink socket on which Receive does not wait: what the kernel has
// to say of a Send it has said when Send returns.
type socket interface {
	Send(b []byte) error
	// Receive gives one datagram's size; unix.EAGAIN where none is.
	Receive(b []byte) (int, error)
	Close() error
}

// receiveSize is more than the kernel puts into one datagram (32 KiB).
const receiveSize = 1 << 17

// Dial opens sockets in a network namespace: that of the file descriptor ns, or
// the calling thread's where it is 0 or less.
func Dial(ns int) (*Conn, error) {
	write, err := dialIn(ns)
	if err != nil {
		return nil, fmt.Errorf("tc: %w", err)
	}
	read, err := dialIn(ns)
	if err != nil {
		return nil, fmt.Errorf("tc: %w", errors.Join(err, write.Close()))
	}
	return newConn(write, read), nil
}

func newConn(write, read socket) *Conn {
	return &Conn{write: newTalk(write), read: newTalk(read)}
}

func newTalk(s socket) talk {
	t := talk{turn: make(chan struct{}, 1), socket: s, rcv: make([]byte, receiveSize)}
	t.leave()
	return t
}

func (t *talk) enter() { <-t.turn }
func (t *talk) leave() { t.turn <- struct{}{} }

// Close closes the sockets; filters stay. What is asked afterwards is ErrClosed.
func (c *Conn) Close() error { return errors.Join(c.write.close(), c.read.close()) }

func (t *talk) close() error {
	t.enter()
	defer t.leave()
	s := t.socket
	t.socket = closed{}
	return s.Close()
}

// closed is the socket that is none any more.
type closed struct{}

func (closed) Send([]byte) error           { return hwabstraction.ErrClosed }
func (closed) Receive([]byte) (int, error) { return 0, hwabstraction.ErrClosed }
func (closed) Close() error                { return nil }

// dialIn opens the socket on a thread that has entered ns and is thrown away.
func dialIn(ns int) (s socket, err error) {
	if ns <= 0 {
		return dial()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err = unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter the network namespace: %w", err)
			return
		}
		s, err = dial()
	}()
	<-done
	return s, err
}

// netlinkSocket is the real one.
type netlinkSocket int

func dial() (socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind: %w", err)
	}
	// Best effort: with less room more is read back, without reasons errors say less.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	return netlinkSocket(fd), nil
}

func (s netlinkSocket) Send(b []byte) error {
	for {
		err := unix.Sendto(int(s), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return err
		}
	}
}

// Receive passes over what is not from the kernel.
func (s netlinkSocket) Receive(b []byte) (int, error) {
	for {
		n, from, err := unix.Recvfrom(int(s), b, unix.MSG_TRUNC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
			continue
		}
		if n > len(b) {
			return 0, unix.EMSGSIZE
		}
		return n, nil
	}
}

func (s netlinkSocket) Close() error { return unix.Close(int(s)) }
