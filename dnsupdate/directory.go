package dnsupdate

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/miekg/dns"
)

// Directory knows the zones: those configured, their servers found by SOA and
// NS where none are named. It is safe for concurrent use.
type Directory struct {
	client   *Client
	resolver netip.AddrPort

	mu    sync.Mutex // guards zones
	zones []Zone
}

// NewDirectory holds the zones; resolver may be the zero value if every zone
// names its servers.
func NewDirectory(c *Client, resolver netip.AddrPort, zones []Zone) *Directory {
	return &Directory{client: c, resolver: resolver, zones: slices.Clone(zones)}
}

// Replace takes a new configuration: after a reload, for instance with rolled
// keys. Exchanges under way end with the old one.
func (d *Directory) Replace(zones []Zone) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.zones = slices.Clone(zones)
}

// Names are the zones' names, as Plan wants them.
func (d *Directory) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := make([]string, len(d.zones))
	for i, z := range d.zones {
		names[i] = z.Name
	}
	return names
}

// Zone returns a zone with its servers, asking the resolver if it names none.
// The answer is not kept: it holds as long as the exchange that needs it.
func (d *Directory) Zone(ctx context.Context, name string) (Zone, *Failure) {
	d.mu.Lock()
	i := slices.IndexFunc(d.zones, func(z Zone) bool { return z.Name == canonical(name) })
	var z Zone
	if i >= 0 {
		z = d.zones[i]
	}
	d.mu.Unlock()
	if i < 0 {
		return Zone{}, &Failure{Kind: FailureConfig, Zone: name, Detail: "not among the configured zones"}
	}
	if len(z.Servers) > 0 {
		return z, nil
	}
	return d.discover(ctx, z)
}

// discover fills in servers: the addresses of the SOA's MNAME (RFC 2136 4.3)
// and, unless secondaries are configured, those of the NS records.
func (d *Directory) discover(ctx context.Context, z Zone) (Zone, *Failure) {
	to := target{zone: z.Name, server: d.resolver, recurse: true}
	soa, f := d.client.query(ctx, to, z.Name, dns.TypeSOA)
	if f != nil {
		return z, f
	}
	for _, rr := range soa.Answer {
		if s, ok := rr.(*dns.SOA); ok && canonical(s.Hdr.Name) == z.Name {
			z.Servers, f = d.addresses(ctx, to, s.Ns)
		}
	}
	if f == nil && len(z.Servers) == 0 {
		f = to.fail(FailureConfig, "no SOA record whose primary has an address: name the zone's servers")
	}
	if f != nil || len(z.Secondaries) > 0 {
		return z, f
	}
	ns, f := d.client.query(ctx, to, z.Name, dns.TypeNS)
	if f != nil {
		return z, f
	}
	for _, rr := range ns.Answer {
		if n, ok := rr.(*dns.NS); ok {
			addrs, f := d.addresses(ctx, to, n.Ns)
			if f != nil {
				return z, f
			}
			z.Secondaries = append(z.Secondaries, addrs...)
		}
	}
	return z, nil
}

// addresses of a server, on the port of the DNS.
func (d *Directory) addresses(ctx context.Context, to target, host string) ([]netip.AddrPort, *Failure) {
	var list []netip.AddrPort
	for _, qtype := range []uint16{dns.TypeAAAA, dns.TypeA} {
		r, f := d.client.query(ctx, to, host, qtype)
		if f != nil {
			f.Detail = fmt.Sprintf("address of %s: %s", host, f.Detail)
			return nil, f
		}
		for _, rr := range r.Answer {
			if a, ok := addressOf(rr); ok {
				list = append(list, netip.AddrPortFrom(a, 53))
			}
		}
	}
	return list, nil
}

func addressOf(rr dns.RR) (a netip.Addr, ok bool) {
	switch rr := rr.(type) {
	case *dns.A:
		a, ok = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		a, ok = netip.AddrFromSlice(rr.AAAA)
	default:
		return a, false
	}
	return a.Unmap(), ok
}
