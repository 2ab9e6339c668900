package software

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// settleTime gathers changes of the FIB that come together.
const settleTime = 5 * time.Millisecond

// startFollower watches the FIB and the links, and lets routes towards
// locators follow.
func (d *Device) startFollower() error {
	ns := netns.NsHandle(d.ns.fd())
	routes := make(chan netlink.RouteUpdate, 64)
	links := make(chan netlink.LinkUpdate, 64)
	lost := func(err error) { d.log.Warn("route monitor", "err", err) }
	err := netlink.RouteSubscribeWithOptions(routes, d.ctx.Done(), netlink.RouteSubscribeOptions{
		Namespace: &ns, ErrorCallback: lost,
	})
	if err != nil {
		return fmt.Errorf("software: route monitor: %w", err)
	}
	err = netlink.LinkSubscribeWithOptions(links, d.ctx.Done(), netlink.LinkSubscribeOptions{
		Namespace: &ns, ErrorCallback: lost,
	})
	if err != nil {
		return fmt.Errorf("software: link monitor: %w", err)
	}
	d.tasks.Add(1)
	go d.followChanges(routes, links)
	return nil
}

func (d *Device) followChanges(routes <-chan netlink.RouteUpdate, links <-chan netlink.LinkUpdate) {
	defer d.tasks.Done()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for routes != nil || links != nil {
		select {
		case u, ok := <-routes:
			if !ok {
				routes = nil
			} else if u.Protocol != protocol {
				timer.Reset(settleTime)
			}
		case _, ok := <-links:
			if !ok {
				links = nil
			} else {
				timer.Reset(settleTime)
			}
		case <-timer.C:
			d.follow()
		}
	}
}
