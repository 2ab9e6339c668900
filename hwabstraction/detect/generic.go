package detect

import (
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// askGeneric asks a family of generic netlink; each answer is its attributes.
// With the flag Dump it lists everything. It is an error where the kernel has
// no such family.
func askGeneric(h *vnl.Handle, family string, command uint8, flags netlink.HeaderFlags, attrs []byte) ([][]byte, error) {
	f, err := h.GenlFamilyGet(family)
	if err != nil {
		return nil, fmt.Errorf("detect: %s: %w", family, err)
	}
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, nil)
	if err != nil {
		return nil, fmt.Errorf("detect: %s: %w", family, err)
	}
	defer conn.Close()
	const head = 4 // command, version, two reserved bytes
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(f.ID), Flags: netlink.Request | flags},
		Data:   append([]byte{command, 1, 0, 0}, attrs...),
	})
	if err != nil {
		return nil, fmt.Errorf("detect: %s: %w", family, err)
	}
	var out [][]byte
	for _, m := range msgs {
		if len(m.Data) > head {
			out = append(out, m.Data[head:])
		}
	}
	return out, nil
}

// devlinkPort is what of a port of an e-switch devlink tells.
type devlinkPort struct {
	Index    int32 // of its network interface; 0 = it has none
	Function Function
	State    string // of the function; "" = not told
}

// Attributes and values of devlink, linux/devlink.h.
const (
	devlinkPortGet      = 5
	devlinkPortIfindex  = 6
	devlinkPortFlavour  = 77
	devlinkPortNumber   = 78
	devlinkPortPF       = 127
	devlinkPortVF       = 128
	devlinkPortFunction = 145
	devlinkPortControl  = 150
	devlinkPortSF       = 164
	devlinkFnState      = 2
)

var devlinkFlavours = map[uint16]FunctionKind{0: Uplink, 3: HostPF, 4: VF, 7: SF}

// parseDevlinkPort reads one answer to DEVLINK_CMD_PORT_GET.
func parseDevlinkPort(attrs []byte) (p devlinkPort, err error) {
	ad, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return p, fmt.Errorf("detect: devlink port: %w", err)
	}
	var number, vf, sf int
	for ad.Next() {
		switch ad.Type() {
		case devlinkPortIfindex:
			p.Index = int32(ad.Uint32())
		case devlinkPortFlavour:
			p.Function.Kind = devlinkFlavours[ad.Uint16()]
		case devlinkPortNumber:
			number = int(ad.Uint32())
		case devlinkPortControl:
			p.Function.Controller = int(ad.Uint32())
		case devlinkPortPF:
			p.Function.PF = int(ad.Uint16())
		case devlinkPortVF:
			vf = int(ad.Uint16())
		case devlinkPortSF:
			sf = int(ad.Uint32())
		case devlinkPortFunction:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					if ad.Type() == devlinkFnState {
						p.State = [...]string{"inactive", "active"}[min(ad.Uint8(), 1)]
					}
				}
				return nil
			})
		}
	}
	switch p.Function.Kind {
	case Uplink:
		p.Function.PF = number
	case VF:
		p.Function.Number = vf
	case SF:
		p.Function.Number = sf
	}
	if err := ad.Err(); err != nil {
		return p, fmt.Errorf("detect: devlink port: %w", err)
	}
	return p, nil
}

// Attributes of ethtool, linux/ethtool_netlink.h.
const (
	ethtoolFeaturesGet = 11
	ethtoolHeader      = 1
	ethtoolHardware    = 2 // features that can be changed
	ethtoolActive      = 4
	ethtoolFixed       = 5
	ethtoolIndex       = 1 // of the header
	ethtoolNoMask      = 1 // of a set
	ethtoolBits        = 3
	ethtoolBit         = 1 // of the bits
	ethtoolBitName     = 2
	ethtoolBitValue    = 3
	tcOffload          = "hw-tc-offload"
)

// featuresRequest asks for one port. (A dump of all fails: the names of one
// port's features fill the kernel's buffer.)
func featuresRequest(index int32) []byte {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(ethtoolHeader, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(ethtoolIndex, uint32(index))
		return nil
	})
	b, _ := ae.Encode() // one number fits
	return b
}

// parseFeatures reads hw-tc-offload, as the program ethtool shows it, from an
// answer to ETHTOOL_MSG_FEATURES_GET.
func parseFeatures(attrs []byte) (offload string, err error) {
	ad, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return "", fmt.Errorf("detect: ethtool: %w", err)
	}
	var can, fixed bool
	offload = "off"
	for ad.Next() {
		switch ad.Type() {
		case ethtoolHardware:
			can = slices.Contains(setBits(ad), tcOffload)
		case ethtoolFixed:
			fixed = slices.Contains(setBits(ad), tcOffload)
		case ethtoolActive:
			if slices.Contains(setBits(ad), tcOffload) {
				offload = "on"
			}
		}
	}
	if err := ad.Err(); err != nil {
		return "", fmt.Errorf("detect: ethtool: %w", err)
	}
	if !can || fixed {
		offload += " [fixed]"
	}
	return offload, nil
}

// setBits are the names of the bits that are set. A set without a mask lists
// only these; one with a mask lists others as well, without a value.
func setBits(ad *netlink.AttributeDecoder) (names []string) {
	noMask := false
	bit := func(ad *netlink.AttributeDecoder) error {
		name, set := "", noMask
		for ad.Next() {
			switch ad.Type() {
			case ethtoolBitName:
				name = ad.String()
			case ethtoolBitValue:
				set = true
			}
		}
		if set {
			names = append(names, name)
		}
		return nil
	}
	ad.Nested(func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			switch ad.Type() {
			case ethtoolNoMask:
				noMask = true
			case ethtoolBits:
				each(ad, ethtoolBit, bit)
			}
		}
		return nil
	})
	return names
}

// each calls f for every attribute of a type in a nested list.
func each(ad *netlink.AttributeDecoder, kind uint16, f func(*netlink.AttributeDecoder) error) {
	ad.Nested(func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == kind {
				ad.Nested(f)
			}
		}
		return nil
	})
}
