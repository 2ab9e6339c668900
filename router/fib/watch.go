package fib

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/internal/rtnl"
)

// Watch tells when the kernel's routes or links change, by a value on changed,
// which has room for one: a change seen while one is pending is part of it.
// Additions of our own routes are left out. Notices that the kernel had to drop
// count as a change. It ends with ctx, in the network namespace it was started in.
func Watch(ctx context.Context, changed chan<- struct{}) error {
	for ctx.Err() == nil {
		lost, err := watch(ctx, changed)
		if err != nil {
			return err
		}
		if lost {
			tell(changed)
		}
	}
	return nil
}

func tell(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}

// watch is one subscription; lost tells that the kernel dropped notices and a
// new one is needed.
func watch(ctx context.Context, changed chan<- struct{}) (lost bool, err error) {
	stop := make(chan struct{})
	failed := make(chan struct{}, 2)
	onError := func(error) {
		select {
		case failed <- struct{}{}:
		default:
		}
	}
	routes := make(chan netlink.RouteUpdate, 1024)
	if err := netlink.RouteSubscribeWithOptions(routes, stop, netlink.RouteSubscribeOptions{ErrorCallback: onError, ReceiveBufferSize: 4 << 20}); err != nil {
		close(stop)
		return false, fmt.Errorf("fib: watching routes: %w", err)
	}
	links := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(links, stop, netlink.LinkSubscribeOptions{ErrorCallback: onError}); err != nil {
		close(stop)
		go drain(routes)
		return false, fmt.Errorf("fib: watching links: %w", err)
	}
	defer func() {
		close(stop)
		go drain(routes)
		go drain(links)
	}()
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case <-failed:
			return true, nil
		case u, ok := <-routes:
			switch {
			case !ok:
				return true, nil
			case u.Protocol == rtnl.Protocol && u.Type == unix.RTM_NEWROUTE:
			default:
				tell(changed)
			}
		case _, ok := <-links:
			if !ok {
				return true, nil
			}
			tell(changed)
		}
	}
}

// drain lets a goroutine of the library finish: it sends until it sees stop.
func drain[T any](updates <-chan T) {
	for range updates {
	}
}
