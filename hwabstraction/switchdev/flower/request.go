package flower

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Attributes of a filter and of flower, linux/rtnetlink.h and linux/pkt_cls.h.
const (
	tcaKind    = 1
	tcaOptions = 2
	tcaChain   = 11

	keyActions   = 3
	keyEthDst    = 4
	keyEthSrc    = 6
	keyEthType   = 8
	keyProtocol  = 9
	keyIPv4Src   = 10
	keyIPv4Dst   = 12
	keyIPv6Src   = 14
	keyIPv6Dst   = 16
	keyFlags     = 22
	keyFragment  = 47
	keyFragMask  = 48
	keyTCPFlags  = 71
	keyTCPMask   = 72
	keyHop       = 75
	keyHopMask   = 76
	keyInHWCount = 86
	keyState     = 91
	keyStateMask = 92
	keyZone      = 93
	keyZoneMask  = 94

	kindFlower = "flower"

	// Ingress is the parent of every filter here: TC_H_CLSACT, TC_H_MIN_INGRESS.
	Ingress = 0xfffffff2

	// maxTCPFlags are the twelve bits that the header has.
	maxTCPFlags = 0x0fff
	// isFragment is TCA_FLOWER_KEY_FLAGS_IS_FRAGMENT.
	isFragment = 1 << 0
)

// Flags of a classifier, TCA_CLS_FLAGS_*.
const (
	skipHW = 1 << 0
	skipSW = 1 << 1
	inHW   = 1 << 2
)

// Protocols of a filter, host order.
const (
	protocolAll  = unix.ETH_P_ALL
	protocolIPv4 = unix.ETH_P_IP
	protocolIPv6 = unix.ETH_P_IPV6
)

func (f Filter) protocol() uint16 {
	switch {
	case f.All:
		return protocolAll
	case f.IPv4:
		return protocolIPv4
	}
	return protocolIPv6
}

// AppendAdd appends the request that puts the filter, and fails where one of the
// same port, chain, priority and handle is (NLM_F_EXCL). It is a whole netlink
// message, its header included, with sequence number 0 and no acknowledgement
// asked for.
func (f Filter) AppendAdd(b []byte) ([]byte, error) {
	return f.appendPut(b, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
}

// AppendReplace appends, like AppendAdd, the request that puts the filter in
// place of the one with the same port, chain, priority and handle, or where
// none is: one atomic step for the packets.
func (f Filter) AppendReplace(b []byte) ([]byte, error) { return f.appendPut(b, unix.NLM_F_CREATE) }

// AppendDelete appends, like AppendAdd, the request that removes the filter of
// this port, chain, priority and handle; nothing else of f is looked at. Handle
// 0 is refused: the kernel would remove all of the priority.
func (f Filter) AppendDelete(b []byte) ([]byte, error) {
	if err := f.validatePlace(); err != nil {
		return b, err
	}
	if f.Handle == 0 {
		return b, fmt.Errorf("flower: delete with handle 0: it would remove the whole priority %d", f.Priority)
	}
	b, at := f.appendHead(b, unix.RTM_DELTFILTER, 0)
	return finish(b, at)
}

func (f Filter) appendPut(b []byte, flags uint16) ([]byte, error) {
	if err := f.Validate(); err != nil {
		return b, err
	}
	b, at := f.appendHead(b, unix.RTM_NEWTFILTER, flags)
	b, options := begin(b, tcaOptions)
	b = end(f.appendOptions(b), options)
	return finish(b, at)
}

// finish sets the message's length.
func finish(b []byte, at int) ([]byte, error) {
	size := len(b) - at
	if size > math.MaxUint16 {
		return b[:at], fmt.Errorf("flower: a filter of %d bytes: at most %d", size, math.MaxUint16)
	}
	binary.NativeEndian.PutUint32(b[at:], uint32(size))
	return b, nil
}

// appendHead appends struct nlmsghdr, struct tcmsg, chain and kind.
func (f Filter) appendHead(b []byte, typ, flags uint16) ([]byte, int) {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = append(b, make([]byte, 8)...) // sequence number and port
	b = append(b, unix.AF_UNSPEC, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(f.Port))
	b = binary.NativeEndian.AppendUint32(b, f.Handle)
	b = binary.NativeEndian.AppendUint32(b, Ingress)
	b = binary.NativeEndian.AppendUint32(b, uint32(f.Priority)<<16|uint32(network(f.protocol())))
	b = appendUint32(b, tcaChain, f.Chain)
	return appendText(b, tcaKind, kindFlower), at
}

// network turns a number between host and network order.
func network(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func (f Filter) appendOptions(b []byte) []byte {
	b = f.Match.append(b)
	b, at := begin(b, keyActions)
	b = end(f.appendActions(b), at)
	var flags uint32
	if f.SkipHW {
		flags |= skipHW
	}
	if f.SkipSW {
		flags |= skipSW
	}
	b = appendUint32(b, keyFlags, flags)
	if f.Match.NoFragment {
		b = appendBytes(b, keyFragment, 0, 0, 0, 0)
		b = appendBytes(b, keyFragMask, 0, 0, 0, isFragment)
	}
	if !f.All {
		b = appendUint16(b, keyEthType, network(f.protocol()))
	}
	return b
}

// append appends what tc writes before the actions.
func (m Match) append(b []byte) []byte {
	b = appendMAC(b, m.DestinationMAC, keyEthDst)
	b = appendMAC(b, m.SourceMAC, keyEthSrc)
	b = appendPrefix(b, m.Source, keyIPv4Src, keyIPv6Src)
	b = appendPrefix(b, m.Destination, keyIPv4Dst, keyIPv6Dst)
	if m.Protocol != 0 {
		b = appendBytes(b, keyProtocol, m.Protocol)
	}
	if m.HopLimitMask != 0 {
		b = appendBytes(b, keyHop, m.HopLimit)
		b = appendBytes(b, keyHopMask, m.HopLimitMask)
	}
	if m.FlagsMask != 0 {
		b = appendUint16(b, keyTCPFlags, network(m.Flags))
		b = appendUint16(b, keyTCPMask, network(m.FlagsMask))
	}
	if m.State != 0 {
		b = appendUint16(b, keyState, uint16(m.State))
		b = appendUint16(b, keyStateMask, uint16(m.State))
	}
	if m.Zone != 0 {
		b = appendUint16(b, keyZone, m.Zone)
		b = appendUint16(b, keyZoneMask, 0xffff)
	}
	return b
}

// appendMAC appends a key and, in the attribute after it, its full mask.
func appendMAC(b []byte, m MAC, key uint16) []byte {
	if m == (MAC{}) {
		return b
	}
	b = appendBytes(b, key, m[:]...)
	return appendBytes(b, key+1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
}

// appendPrefix appends a key and, in the attribute after it, its mask.
func appendPrefix(b []byte, p netip.Prefix, v4, v6 uint16) []byte {
	if !p.IsValid() {
		return b
	}
	key, size := v6, 16
	if p.Addr().Is4() {
		key, size = v4, 4
	}
	var mask [16]byte
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	b = appendBytes(b, key, p.Addr().AsSlice()...)
	return appendBytes(b, key+1, mask[:size]...)
}
