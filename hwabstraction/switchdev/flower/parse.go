package flower

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
)

// sizeofTcmsg is that of struct tcmsg.
const sizeofTcmsg = 20

// Attributes of a bpf classifier.
const (
	bpfName  = 7
	bpfFlags = 9
)

// ParseStatus reads what follows the netlink header of an RTM_NEWTFILTER that
// the kernel has sent: from a dump, or a notification. A dump also announces each
// priority by a message that is no filter: ok is false.
func ParseStatus(data []byte) (s Status, ok bool, err error) {
	if len(data) < sizeofTcmsg {
		return Status{}, false, fmt.Errorf("flower: a filter message of %d bytes: want %d", len(data), sizeofTcmsg)
	}
	s.Port = int32(binary.NativeEndian.Uint32(data[4:]))
	s.Handle = binary.NativeEndian.Uint32(data[8:])
	info := binary.NativeEndian.Uint32(data[16:])
	s.Priority, s.Protocol = uint16(info>>16), network(uint16(info))
	var options []byte
	if err := attributes(data[sizeofTcmsg:], func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case tcaKind:
			s.Kind = ad.String()
		case tcaChain:
			s.Chain = ad.Uint32()
		case tcaOptions:
			options = ad.Bytes()
		}
	}); err != nil {
		return Status{}, false, fmt.Errorf("flower: %w", err)
	}
	if s.Handle == 0 {
		return Status{}, false, nil
	}
	if err := s.readOptions(options); err != nil {
		return Status{}, false, fmt.Errorf("flower: %s filter of priority %d, handle %#x: %w", s.Kind, s.Priority, s.Handle, err)
	}
	return s, true, nil
}

// attributes calls each for every attribute in b.
func attributes(b []byte, each func(*netlink.AttributeDecoder)) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for ad.Next() {
		each(ad)
	}
	return ad.Err()
}

func (s *Status) readOptions(b []byte) error {
	switch s.Kind {
	case kindFlower:
		return s.readFlower(b)
	case "bpf":
		return attributes(b, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case bpfName:
				s.Name = ad.String()
			case bpfFlags:
				s.flags(ad.Uint32())
			}
		})
	}
	return nil
}

func (s *Status) flags(flags uint32) {
	s.SkipHW, s.SkipSW, s.InHW = flags&skipHW != 0, flags&skipSW != 0, flags&inHW != 0
}

// keys are the values of a flower filter and their masks, by attribute.
type keys struct {
	mac              map[uint16]MAC
	addr             map[uint16][]byte
	fragment, noFrag uint32
	stateMask        uint16
	zoneMask         uint16
}

func (s *Status) readFlower(b []byte) error {
	s.protocolOf()
	k := keys{mac: map[uint16]MAC{}, addr: map[uint16][]byte{}}
	var actions error
	err := attributes(b, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case keyActions:
			actions = s.readActions(ad.Bytes())
		case keyFlags:
			s.flags(ad.Uint32())
		case keyInHWCount:
			s.InHWCount = ad.Uint32()
		case keyEthType: // it is in the message's head
		default:
			if !s.readKey(ad, &k) {
				s.beyond("key %d", ad.Type())
			}
		}
	})
	if err != nil {
		return err
	}
	s.judge(k)
	return actions
}

func (s *Status) protocolOf() {
	switch s.Protocol {
	case protocolAll:
		s.All = true
	case protocolIPv4:
		s.IPv4 = true
	case protocolIPv6:
	default:
		s.beyond("protocol %#04x", s.Protocol)
	}
}

// readKey reads one thing to match; false where it is none that a Match has.
func (s *Status) readKey(ad *netlink.AttributeDecoder, k *keys) bool {
	switch t := ad.Type(); t {
	case keyEthDst, keyEthDst + 1, keyEthSrc, keyEthSrc + 1:
		var m MAC
		if copy(m[:], ad.Bytes()) == len(m) {
			k.mac[t] = m
		}
	case keyIPv4Src, keyIPv4Src + 1, keyIPv4Dst, keyIPv4Dst + 1, keyIPv6Src, keyIPv6Src + 1, keyIPv6Dst, keyIPv6Dst + 1:
		k.addr[t] = ad.Bytes()
	case keyProtocol:
		s.Match.Protocol = ad.Uint8()
	case keyHop:
		s.Match.HopLimit = ad.Uint8()
	case keyHopMask:
		s.Match.HopLimitMask = ad.Uint8()
	case keyTCPFlags:
		s.Match.Flags = network(ad.Uint16())
	case keyTCPMask:
		s.Match.FlagsMask = network(ad.Uint16())
	case keyFragment:
		k.fragment = big32(ad.Bytes())
	case keyFragMask:
		k.noFrag = big32(ad.Bytes())
	case keyState:
		s.Match.State = State(ad.Uint16())
	case keyStateMask:
		k.stateMask = ad.Uint16()
	case keyZone:
		s.Match.Zone = ad.Uint16()
	case keyZoneMask:
		k.zoneMask = ad.Uint16()
	default:
		return false
	}
	return true
}

func big32(b []byte) uint32 {
	if len(b) != 4 {
		return ^uint32(0)
	}
	return binary.BigEndian.Uint32(b)
}

// judge puts the keys together, each with its mask.
func (s *Status) judge(k keys) {
	m := &s.Match
	m.DestinationMAC = s.wholeMAC(k, keyEthDst)
	m.SourceMAC = s.wholeMAC(k, keyEthSrc)
	m.Source = s.prefix(k, keyIPv4Src, keyIPv6Src)
	m.Destination = s.prefix(k, keyIPv4Dst, keyIPv6Dst)
	switch {
	case k.noFrag == isFragment && k.fragment == 0:
		m.NoFragment = true
	case k.noFrag != 0:
		s.beyond("ip_flags %#x/%#x", k.fragment, k.noFrag)
	}
	if uint16(m.State) != k.stateMask {
		s.beyond("ct_state %#x/%#x", uint16(m.State), k.stateMask)
	}
	if m.Zone != 0 && k.zoneMask != 0xffff {
		s.beyond("ct_zone %d/%#x", m.Zone, k.zoneMask)
	}
}

func (s *Status) wholeMAC(k keys, key uint16) MAC {
	mac, mask := k.mac[key], k.mac[key+1]
	if mask == (MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) && mac != (MAC{}) {
		return mac
	}
	if mask != (MAC{}) || mac != (MAC{}) {
		s.beyond("MAC %x/%x", mac, mask)
	}
	return MAC{}
}

// prefix is an address and its mask, of whichever family has one.
func (s *Status) prefix(k keys, v4, v6 uint16) netip.Prefix {
	key := v6
	if k.addr[v4] != nil {
		key = v4
	}
	addr, mask := k.addr[key], k.addr[key+1]
	if addr == nil && mask == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(addr)
	bits := ones(mask)
	if !ok || len(mask) != len(addr) || bits < 0 || a.Is4() != s.IPv4 {
		s.beyond("address %x/%x", addr, mask)
		return netip.Prefix{}
	}
	p := netip.PrefixFrom(a, bits)
	if p != p.Masked() {
		s.beyond("address %x/%x", addr, mask)
	}
	return p
}

// ones counts those that a mask begins with; -1 where others follow a zero.
func ones(mask []byte) int {
	n := 0
	for n < 8*len(mask) && mask[n/8]&(0x80>>(n%8)) != 0 {
		n++
	}
	for i := n; i < 8*len(mask); i++ {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			return -1
		}
	}
	return n
}
