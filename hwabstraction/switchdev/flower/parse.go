package flower

import (
	"encoding/binary"
	"fmt"
	"net/netip"
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
	if err := attributes(data[sizeofTcmsg:], func(a attribute) error {
		switch a.typ {
		case tcaKind:
			s.Kind = a.text()
		case tcaChain:
			return a.uint32(&s.Chain)
		case tcaOptions:
			options = a.data
		}
		return nil
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

func (s *Status) readOptions(b []byte) error {
	switch s.Kind {
	case kindFlower:
		return s.readFlower(b)
	case "bpf":
		return attributes(b, func(a attribute) error {
			switch a.typ {
			case bpfName:
				s.Name = a.text()
			case bpfFlags:
				return s.flags(a)
			}
			return nil
		})
	}
	return nil
}

func (s *Status) flags(a attribute) error {
	var flags uint32
	err := a.uint32(&flags)
	s.SkipHW, s.SkipSW, s.InHW = flags&skipHW != 0, flags&skipSW != 0, flags&inHW != 0
	return err
}

// keys are those parts of a flower filter's match that mean something together
// only: a value and, in the attribute after it, its mask.
type keys struct {
	mac       [keyEthSrc + 2]MAC
	addr      [keyIPv6Dst + 2][]byte
	fragments uint32
	fragMask  uint32
	stateMask uint16
	zoneMask  uint16
}

func (s *Status) readFlower(b []byte) error {
	s.readProtocol()
	var k keys
	if err := attributes(b, func(a attribute) error {
		switch a.typ {
		case keyActions:
			return s.readActions(a.data)
		case keyFlags:
			return s.flags(a)
		case keyInHWCount:
			s.CountTold = true
			return a.uint32(&s.InHWCount)
		case keyEthType: // it is in the message's head
			return nil
		}
		return s.readKey(a, &k)
	}); err != nil {
		return err
	}
	s.judge(&k)
	return nil
}

func (s *Status) readProtocol() {
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

// readKey reads one thing to match.
func (s *Status) readKey(a attribute, k *keys) error {
	switch m := &s.Match; a.typ {
	case keyEthDst, keyEthDst + 1, keyEthSrc, keyEthSrc + 1:
		return a.read(k.mac[a.typ][:])
	case keyIPv4Src, keyIPv4Src + 1, keyIPv4Dst, keyIPv4Dst + 1, keyIPv6Src, keyIPv6Src + 1, keyIPv6Dst, keyIPv6Dst + 1:
		k.addr[a.typ] = a.data
		return nil
	case keyProtocol:
		return a.uint8(&m.Protocol)
	case keyHop:
		return a.uint8(&m.HopLimit)
	case keyHopMask:
		return a.uint8(&m.HopLimitMask)
	case keyTCPFlags:
		return a.network16(&m.Flags)
	case keyTCPMask:
		return a.network16(&m.FlagsMask)
	case keyFragment:
		return a.network32(&k.fragments)
	case keyFragMask:
		return a.network32(&k.fragMask)
	case keyState:
		return a.uint16((*uint16)(&m.State))
	case keyStateMask:
		return a.uint16(&k.stateMask)
	case keyZone:
		return a.uint16(&m.Zone)
	case keyZoneMask:
		return a.uint16(&k.zoneMask)
	}
	s.beyond("key %d", a.typ)
	return nil
}

func (a attribute) network16(to *uint16) error {
	err := a.uint16(to)
	*to = network(*to)
	return err
}

func (a attribute) network32(to *uint32) error {
	var b [4]byte
	err := a.read(b[:])
	*to = binary.BigEndian.Uint32(b[:])
	return err
}

// judge puts the keys together, each with its mask.
func (s *Status) judge(k *keys) {
	m := &s.Match
	m.DestinationMAC = s.wholeMAC(k, keyEthDst)
	m.SourceMAC = s.wholeMAC(k, keyEthSrc)
	m.Source = s.prefix(k, keyIPv4Src, keyIPv6Src)
	m.Destination = s.prefix(k, keyIPv4Dst, keyIPv6Dst)
	switch {
	case k.fragMask == isFragment && k.fragments == 0:
		m.NoFragment = true
	case k.fragMask != 0:
		s.beyond("ip_flags %#x/%#x", k.fragments, k.fragMask)
	}
	if uint16(m.State) != k.stateMask {
		s.beyond("ct_state %#x/%#x", uint16(m.State), k.stateMask)
	}
	if m.Zone != 0 && k.zoneMask != 0xffff {
		s.beyond("ct_zone %d/%#x", m.Zone, k.zoneMask)
	}
}

func (s *Status) wholeMAC(k *keys, key uint16) MAC {
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
func (s *Status) prefix(k *keys, v4, v6 uint16) netip.Prefix {
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
