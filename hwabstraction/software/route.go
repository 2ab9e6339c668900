package software

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Tables of the policy rules. tableLarge + n routes packets that are larger
// than the n-th MTU.
const (
	tableDeliver = 7001
	tableLarge   = 7002
)

// protocol is the rtm_protocol of every route we write; FRR redistributes it.
const protocol = 201

// route is one route to write or delete.
type route struct {
	prefix  netip.Prefix
	table   uint32
	via     netip.Addr // next hop; may be IPv6 for an IPv4 prefix
	oif     uint32
	metric  uint32
	mtu     uint32 // locked; 0 = the device's
	unreach bool
}

// routeSize is room for a route's message: header, table, IPv6 prefix, gateway,
// port, metric and MTU.
const routeSize = 12 + 8 + 20 + 20 + 8 + 8 + 20

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func routeMessage(kind uint16, r route) rtMessage {
	m := rtMessage{kind: kind}
	typ, scope := byte(unix.RTN_UNICAST), byte(unix.RT_SCOPE_UNIVERSE)
	if r.unreach {
		typ = unix.RTN_UNREACHABLE
	} else if !r.via.IsValid() && r.prefix.Addr().Is4() {
		scope = unix.RT_SCOPE_LINK
	}
	if kind == unix.RTM_NEWROUTE {
		m.flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	} else {
		typ, scope = 0, unix.RT_SCOPE_NOWHERE
	}
	m.body = append(make([]byte, 0, routeSize), family(r.prefix.Addr()), byte(r.prefix.Bits()), 0, 0, 0, protocol, scope, typ, 0, 0, 0, 0)
	m.body = appendAttr32(m.body, unix.RTA_TABLE, r.table)
	if r.prefix.Bits() > 0 {
		m.body = appendAddr(m.body, unix.RTA_DST, r.prefix.Masked().Addr())
	}
	if r.via.IsValid() {
		m.body = appendVia(m.body, r.prefix.Addr(), r.via)
	}
	if r.oif != 0 {
		m.body = appendAttr32(m.body, unix.RTA_OIF, r.oif)
	}
	if r.metric != 0 {
		m.body = appendAttr32(m.body, unix.RTA_PRIORITY, r.metric)
	}
	if r.mtu != 0 {
		metrics := appendAttr32(nil, unix.RTAX_LOCK, 1<<unix.RTAX_MTU)
		m.body = appendAttr(m.body, unix.RTA_METRICS, appendAttr32(metrics, unix.RTAX_MTU, r.mtu))
	}
	return m
}

// appendAddr is appendAttr of an address.
func appendAddr(b []byte, kind uint16, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return appendAttr(b, kind, v[:])
	}
	v := a.As16()
	return appendAttr(b, kind, v[:])
}

func appendVia(b []byte, dst, via netip.Addr) []byte {
	if dst.Is4() == via.Is4() {
		return appendAddr(b, unix.RTA_GATEWAY, via)
	}
	v := binary.NativeEndian.AppendUint16(nil, uint16(family(via)))
	return appendAttr(b, unix.RTA_VIA, append(v, via.AsSlice()...))
}

// neighbour makes or deletes a permanent neighbour entry.
func neighbour(kind uint16, a netip.Addr, ifindex uint32, mac [6]byte) rtMessage {
	m := rtMessage{kind: kind}
	if kind == unix.RTM_NEWNEIGH {
		m.flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	m.body = []byte{family(a), 0, 0, 0}
	m.body = binary.NativeEndian.AppendUint32(m.body, ifindex)
	m.body = binary.NativeEndian.AppendUint16(m.body, unix.NUD_PERMANENT)
	m.body = append(m.body, 0, 0)
	m.body = appendAttr(m.body, unix.NDA_DST, a.AsSlice())
	if mac != ([6]byte{}) {
		m.body = appendAttr(m.body, unix.NDA_LLADDR, mac[:])
	}
	return m
}
