package software

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// fencePasses is how often each processor's queue is emptied: a packet waits in
// it once in front of the VM's port, and once more behind it where the VM is a
// namespace.
const fencePasses = 2

// Fence returns once nothing that a rule judged before the call is still in the
// kernel's receive queues. It sends a datagram to itself through the queue of
// every processor: these queues keep their order, so what was in front of it has
// gone when it arrives. It fails when ctx ends first, or where the agent may not
// run on a processor or has no loopback; then the queues may hold something yet.
// It implements hwabstraction.Fencer.
func (d *Device) Fence(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread, tied to a processor by then, ends with the goroutine
		done <- d.fence(ctx)
	}()
	return <-done
}

func (d *Device) fence(ctx context.Context) error {
	s, self, err := fenceSocket(d.ns)
	if err != nil {
		return fmt.Errorf("software: fence: %w", err)
	}
	defer func() { _ = unix.Close(s) }()
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("software: fence: processors: %w", err)
	}
	for cpu, left := 0, allowed.Count(); left > 0; cpu++ {
		if !allowed.IsSet(cpu) {
			continue
		}
		left--
		var only unix.CPUSet
		only.Set(cpu)
		if err := unix.SchedSetaffinity(0, &only); err != nil {
			return fmt.Errorf("software: fence: processor %d: %w", cpu, err)
		}
		for range fencePasses {
			if err := fencePass(ctx, s, self); err != nil {
				return fmt.Errorf("software: fence: processor %d: %w", cpu, err)
			}
		}
	}
	return nil
}

// fenceSocket is a datagram socket of the namespace, and its own address.
func fenceSocket(ns *namespace) (int, unix.Sockaddr, error) {
	s, err := openIn(ns, func() (int, error) {
		return unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	})
	if err != nil {
		return -1, nil, err
	}
	err = unix.Bind(s, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if err != nil {
		return -1, nil, errors.Join(err, unix.Close(s))
	}
	self, err := unix.Getsockname(s)
	if err == nil {
		err = unix.Connect(s, self) // nobody else's datagram counts
	}
	if err != nil {
		return -1, nil, errors.Join(err, unix.Close(s))
	}
	return s, self, nil
}

// fencePass sends one datagram and waits for it.
func fencePass(ctx context.Context, s int, self unix.Sockaddr) error {
	if err := unix.Sendto(s, []byte{0}, 0, self); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		wait := 100 * time.Millisecond
		if t, ok := ctx.Deadline(); ok {
			wait = min(wait, max(time.Until(t), 0))
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s), Events: unix.POLLIN}}, int(wait.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			_, err := unix.Read(s, make([]byte, 8))
			return err
		}
	}
}
