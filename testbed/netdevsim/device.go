package netdevsim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
)

const (
	bus     = "/sys/bus/netdevsim"
	debugfs = "/sys/kernel/debug/netdevsim"
)

// What vishvananda/netlink does not name of linux/devlink.h.
const (
	cmdResourceSet = 35
	cmdReload      = 37
)

// Table is one of the device's tables, by its resource number.
type Table uint64

// Tables (drivers/net/netdevsim/netdevsim.h).
const (
	FIB4 Table = 2
	FIB6 Table = 5
)

// Present reports whether the kernel has the module.
func Present() bool {
	_, err := os.Stat(bus)
	return err == nil
}

// Device is a simulated switch. Its tables hold the routes of all links of its
// namespace, those of the kernel itself among them.
type Device struct {
	ns   *netns.NS
	name string
}

// New makes device number id, without ports, in a namespace. Close removes it; it
// goes with the namespace too.
func New(ns *netns.NS, id int) (*Device, error) { return NewPorts(ns, id, 0) }

// NewPorts is New for a device with physical ports, which are the namespace's.
func NewPorts(ns *netns.NS, id, ports int) (*Device, error) {
	err := ns.Do(func() error {
		return os.WriteFile(bus+"/new_device", fmt.Appendf(nil, "%d %d", id, ports), 0o200)
	})
	if err != nil {
		return nil, fmt.Errorf("netdevsim: device %d: %w", id, err)
	}
	return &Device{ns: ns, name: fmt.Sprintf("netdevsim%d", id)}, nil
}

// Close removes the device.
func (d *Device) Close() error {
	err := os.WriteFile(bus+"/del_device", []byte(d.name[len("netdevsim"):]), 0o200)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("netdevsim: %s: %w", d.name, err)
	}
	return nil
}

// Name is what devlink calls the device.
func (d *Device) Name() string { return d.name }

// Functions gives the device virtual functions, none before, and puts its
// e-switch into the mode switchdev: each gets a representor.
func (d *Device) Functions(n int) error {
	err := os.WriteFile(filepath.Join(bus, "devices", d.name, "sriov_numvfs"), fmt.Append(nil, n), 0o200)
	if err != nil {
		return fmt.Errorf("netdevsim: %s: %w", d.name, err)
	}
	return d.SetMode("switchdev")
}

// SetMode changes the e-switch's mode, "legacy" or "switchdev", as "devlink dev
// eswitch set" does: representors go, or are made anew.
func (d *Device) SetMode(mode string) error {
	return d.do(mode, func(uint16) error {
		h, err := netlink.NewHandle(unix.NETLINK_GENERIC)
		if err != nil {
			return err
		}
		defer h.Close()
		return h.DevLinkSetEswitchMode(&netlink.DevlinkDevice{BusName: "netdevsim", DeviceName: d.name}, mode)
	})
}

// Limit sets how many entries a table takes. The device is reloaded: it takes
// in the routes that are there, which must fit.
func (d *Device) Limit(t Table, entries uint64) error {
	return d.do("limit", func(family uint16) error {
		req := d.request(family, cmdResourceSet)
		req.AddData(nl.NewRtAttr(nl.DEVLINK_ATTR_RESOURCE_ID, binary.NativeEndian.AppendUint64(nil, uint64(t))))
		req.AddData(nl.NewRtAttr(nl.DEVLINK_ATTR_RESOURCE_SIZE, binary.NativeEndian.AppendUint64(nil, entries)))
		if _, err := req.Execute(unix.NETLINK_GENERIC, 0); err != nil {
			return err
		}
		_, err := d.request(family, cmdReload).Execute(unix.NETLINK_GENERIC, 0)
		return err
	})
}

// Used says how many entries a table has.
func (d *Device) Used(t Table) (n uint64, err error) {
	err = d.do("resources", func(uint16) error {
		h, err := netlink.NewHandle(unix.NETLINK_GENERIC)
		if err != nil {
			return err
		}
		defer h.Close()
		all, err := h.DevlinkGetDeviceResources("netdevsim", d.name)
		if err != nil {
			return err
		}
		for _, top := range all.Resources {
			for _, r := range top.Children {
				if r.ID == uint64(t) {
					n = r.OCCSize
					return nil
				}
			}
		}
		return fmt.Errorf("no resource %d", t)
	})
	return n, err
}

// FailOffload makes the device refuse the routes that come from now on: the
// kernel keeps them, and marks them so.
func (d *Device) FailOffload(fail bool) error {
	value := "0"
	if fail {
		value = "1"
	}
	err := os.WriteFile(filepath.Join(debugfs, d.name, "fib/fail_route_offload"), []byte(value), 0o600)
	if err != nil {
		return fmt.Errorf("netdevsim: %s: %w", d.name, err)
	}
	return nil
}

// do runs f inside the namespace with devlink's number.
func (d *Device) do(what string, f func(family uint16) error) error {
	err := d.ns.Do(func() error {
		family, err := netlink.GenlFamilyGet("devlink")
		if err != nil {
			return err
		}
		return f(family.ID)
	})
	if err != nil {
		return fmt.Errorf("netdevsim: %s: %s: %w", d.name, what, err)
	}
	return nil
}

func (d *Device) request(family uint16, command uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(int(family), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: command, Version: nl.GENL_DEVLINK_VERSION})
	req.AddData(nl.NewRtAttr(nl.DEVLINK_ATTR_BUS_NAME, nl.ZeroTerminated("netdevsim")))
	req.AddData(nl.NewRtAttr(nl.DEVLINK_ATTR_DEV_NAME, nl.ZeroTerminated(d.name)))
	return req
}
