package bgp

import (
	"net/netip"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

func bgpFamily(a netip.Addr) packet.Family {
	if a.Is4() {
		return packet.RF_IPv4_UC
	}
	return packet.RF_IPv6_UC
}

// path is an announcement with the marks of its receivers.
func (g *GoBGP) path(a *Announcement, index map[string]int) (*apiutil.Path, error) {
	nlri, err := packet.NewIPAddrPrefix(a.Prefix)
	if err != nil {
		return nil, err
	}
	attrs := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP)}
	if a.Prefix.Addr().Is4() {
		hop, err := packet.NewPathAttributeNextHop(a.NextHop)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, hop)
	} else {
		reach, err := packet.NewPathAttributeMpReachNLRI(packet.RF_IPv6_UC, []packet.PathNLRI{{NLRI: nlri}}, a.NextHop)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, reach)
	}
	if len(a.Tags.Standard) > 0 {
		values := make([]uint32, len(a.Tags.Standard))
		for i, c := range a.Tags.Standard {
			values[i] = uint32(c)
		}
		attrs = append(attrs, packet.NewPathAttributeCommunities(values))
	}
	var large []*packet.LargeCommunity
	for _, l := range a.Tags.Large {
		large = append(large, &packet.LargeCommunity{ASN: l.Global, LocalData1: l.Local1, LocalData2: l.Local2})
	}
	for _, name := range a.To {
		m := g.mark(index[name])
		large = append(large, &packet.LargeCommunity{ASN: m.Global, LocalData1: m.Local1, LocalData2: m.Local2})
	}
	attrs = append(attrs, packet.NewPathAttributeLargeCommunities(large))
	return &apiutil.Path{Family: bgpFamily(a.Prefix.Addr()), Nlri: nlri, Attrs: attrs}, nil
}

// updates reads what a peer has said; families other than unicast are left out.
func updates(paths []*apiutil.Path) []Update {
	var out []Update
	for _, p := range paths {
		nlri, ok := p.Nlri.(*packet.IPAddrPrefix)
		if !ok || p.Family != packet.RF_IPv4_UC && p.Family != packet.RF_IPv6_UC {
			continue
		}
		u := Update{Peer: p.PeerAddress.Unmap(), Prefix: nlri.Prefix, Withdraw: p.Withdrawal}
		if !u.Withdraw {
			u.read(p.Attrs)
		}
		out = append(out, u)
	}
	return out
}

func (u *Update) read(attrs []packet.PathAttributeInterface) {
	for _, a := range attrs {
		switch a := a.(type) {
		case *packet.PathAttributeNextHop:
			u.NextHop = a.Value.Unmap()
		case *packet.PathAttributeMpReachNLRI:
			u.NextHop = a.Nexthop.Unmap()
		case *packet.PathAttributeCommunities:
			for _, c := range a.Value {
				u.Tags.Standard = append(u.Tags.Standard, Community(c))
			}
		case *packet.PathAttributeLargeCommunities:
			for _, l := range a.Values {
				u.Tags.Large = append(u.Tags.Large, Large{l.ASN, l.LocalData1, l.LocalData2})
			}
		case *packet.PathAttributeAsPath:
			for _, segment := range a.Value {
				u.Path = append(u.Path, segment.GetAS()...)
			}
		}
	}
}
