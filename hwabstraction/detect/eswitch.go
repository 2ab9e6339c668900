package detect

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// eswitchesNow asks devlink for modes.
func eswitchesNow(h *netlink.Handle) ([]Eswitch, error) {
	devices, err := h.DevLinkGetDeviceList()
	if err != nil {
		return nil, fmt.Errorf("devlink: %w", err)
	}
	var out []Eswitch
	for _, d := range devices {
		out = append(out, Eswitch{Device: d.DeviceName, Mode: d.Attrs.Eswitch.Mode})
	}
	return out, nil
}

// watch gives the question whether e-switches are still as they were chosen for;
// nil where filters need none.
func (h *Hardware) watch(c Config) (func() (string, error), error) {
	buses := h.Environment.switched()
	if c.SkipHW || len(buses) == 0 {
		return nil, nil
	}
	at := netns.None()
	if c.NetNS > 0 {
		at = netns.NsHandle(c.NetNS)
	}
	modes, err := netlink.NewHandleAt(at, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("modes of e-switches: %w", err)
	}
	h.modes = modes
	return func() (string, error) {
		now, err := eswitchesNow(modes)
		if err != nil {
			return "", err
		}
		return lost(buses, now)
	}, nil
}

// switched are the e-switches in switchdev mode behind the ports of the fabric.
func (e Environment) switched() (buses []string) {
	for _, name := range e.Fabric {
		d, ok := e.netdev(name)
		if !ok || slices.Contains(buses, d.Bus) {
			continue
		}
		if mode, _ := e.eswitch(d); mode == "switchdev" {
			buses = append(buses, d.Bus)
		}
	}
	return buses
}

// lost tells which e-switch has left switchdev mode, and how it comes back; "" =
// none has. One that is not told of is an error: it may be on its way.
func lost(buses []string, now []Eswitch) (string, error) {
	for _, bus := range buses {
		i := slices.IndexFunc(now, func(s Eswitch) bool { return s.Device == bus })
		switch {
		case i < 0 || now[i].Mode == "":
			return "", fmt.Errorf("detect: the e-switch of %s does not tell its mode", bus)
		case now[i].Mode != "switchdev":
			return fmt.Sprintf("%s is in %s mode; devlink dev eswitch set pci/%s mode switchdev, make its representors anew and turn hw-tc-offload on", bus, now[i].Mode, bus), nil
		}
	}
	return "", nil
}
