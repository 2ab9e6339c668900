package software

import (
	"context"
	"errors"
	"fmt"
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
	return d.fencer.do(func() error { return d.fence(ctx) })
}

// fence runs on the fencer's thread, which also owns the socket.
func (d *Device) fence(ctx context.Context) error {
	if d.fenceFD < 0 {
		fd, err := fenceSocket()
		if err != nil {
			return fmt.Errorf("software: fence: %w", err)
		}
		d.fenceFD = fd
	}
	allowed := &d.fencer.allowed
	for cpu, left := 0, allowed.Count(); left > 0; cpu++ {
		if !allowed.IsSet(cpu) {
			continue
		}
		left--
		err := onCPU(cpu)
		for n := 0; err == nil && n < fencePasses; n++ {
			err = fencePass(ctx, d.fenceFD)
		}
		if err != nil {
			// A datagram may still be under way: it must not count for the next fence.
			err = errors.Join(err, unix.Close(d.fenceFD))
			d.fenceFD = -1
			return fmt.Errorf("software: fence: processor %d: %w", cpu, err)
		}
	}
	return nil
}

// fenceSocket is a datagram socket of the calling thread's namespace that talks
// to itself: nobody else's datagram counts.
func fenceSocket() (int, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	var self unix.Sockaddr
	err = unix.Bind(s, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		self, err = unix.Getsockname(s)
	}
	if err == nil {
		err = unix.Connect(s, self)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(s))
	}
	return s, nil
}

// fencePass sends one datagram and waits for it.
func fencePass(ctx context.Context, s int) error {
	if _, err := unix.Write(s, []byte{0}); err != nil {
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
