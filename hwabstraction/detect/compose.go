package detect

import (
	"context"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// openFast puts the fast path in front of h.Device. Where that cannot be done
// and the backend was not asked for by name, the slow path is left alone: it
// carries out the whole contract.
func (h *Hardware) openFast(c Config) error {
	err := h.openSwitchdev(c)
	if err == nil || c.Backend == Switchdev {
		return err
	}
	c.Log.Warn("no fast path: rules stay in software", "err", err)
	h.Choice.Backend, h.Choice.Reasons = Software, append([]string{err.Error()}, h.Choice.Reasons...)
	return nil
}

func (h *Hardware) openSwitchdev(c Config) (err error) {
	if h.table, err = tc.Dial(c.NetNS); err != nil {
		return fmt.Errorf("detect: %w", err)
	}
	if h.kernel, err = ways.Open(c.NetNS, h.names.Index); err != nil {
		return fmt.Errorf("detect: %w", err)
	}
	eswitch, err := h.watch(c)
	if err != nil {
		return fmt.Errorf("detect: %w", err)
	}
	d, err := switchdev.Open(h.Device, switchdev.Config{
		Fabric: c.Fabric, Table: h.table, Kernel: h.kernel, Eswitch: eswitch, SkipHW: c.SkipHW, Log: c.Log,
	})
	if err != nil {
		return fmt.Errorf("detect: %w", err)
	}
	h.Device = d
	return nil
}

// withdraw removes the filters that a fast path has left, where there is none
// any more: nobody would keep them right.
func (h *Hardware) withdraw(ctx context.Context, c Config) error {
	if h.Choice.Backend == Switchdev || h.Environment.Features[Flower].Answer != hwabstraction.Yes {
		return nil
	}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: max(c.NetNS, 0)})
	if err != nil {
		return fmt.Errorf("detect: %w", err)
	}
	defer conn.Close()
	links, err := readLinks(conn, 0)
	if err != nil {
		return err
	}
	ports := make([]int32, len(links))
	for i, l := range links {
		ports[i] = l.Index
	}
	table, err := tc.Dial(c.NetNS)
	if err != nil {
		return fmt.Errorf("detect: %w", err)
	}
	defer table.Close()
	n, err := switchdev.Withdraw(ctx, table, ports)
	if n > 0 {
		c.Log.Info("filters of an earlier fast path removed", "filters", n)
	}
	return err
}
