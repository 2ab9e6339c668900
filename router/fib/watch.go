package fib

import (
	"context"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/internal/rtnl"
)

// Watch tells when the kernel's routes or links change: it sends on changed,
// which should have room for one value, without ever waiting; a change seen
// while one is pending is part of it. Changes of our own routes by ourselves
// are left out only where they cannot matter (additions). It ends with ctx, in
// the network namespace it was started in.
func Watch(ctx context.Context, changed chan<- struct{}) error {
	stop := make(chan struct{})
	var once sync.Once
	halt := func() { once.Do(func() { close(stop) }) }
	defer halt()
	failed := make(chan error, 2)
	onError := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	routes := make(chan netlink.RouteUpdate, 1024)
	links := make(chan netlink.LinkUpdate, 64)
	if err := netlink.RouteSubscribeWithOptions(routes, stop, netlink.RouteSubscribeOptions{ErrorCallback: onError, ReceiveBufferSize: 4 << 20}); err != nil {
		return fmt.Errorf("fib: watching routes: %w", err)
	}
	if err := netlink.LinkSubscribeWithOptions(links, stop, netlink.LinkSubscribeOptions{ErrorCallback: onError}); err != nil {
		return fmt.Errorf("fib: watching links: %w", err)
	}
	defer drain(routes, links)
	defer halt()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("fib: watching the kernel: %w", err)
		case u, ok := <-routes:
			if !ok {
				return fmt.Errorf("fib: the kernel's route notices ended")
			}
			if u.Protocol == rtnl.Protocol && u.Type == unix.RTM_NEWROUTE {
				continue
			}
		case _, ok := <-links:
			if !ok {
				return fmt.Errorf("fib: the kernel's link notices ended")
			}
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// drain lets the library's goroutines finish: they send until they see stop.
func drain(routes <-chan netlink.RouteUpdate, links <-chan netlink.LinkUpdate) {
	go func() {
		for range routes {
		}
	}()
	go func() {
		for range links {
		}
	}()
}
