package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/dpmip/dpmip/testbed/peers/bind"
	"github.com/dpmip/dpmip/testbed/topology"
)

// The moving VM's name, and the zones that it and its addresses lie in.
const (
	nameOfVM    = "www.dc1.example."
	zoneForward = "dc1.example."
	zoneV4      = "10.in-addr.arpa."
	zoneV6      = "8.b.d.0.1.0.0.2.ip6.arpa."
)

var nameZones = []string{zoneForward, zoneV4, zoneV6}

// TTLs of the VM's addresses: usually, and while it moves.
const (
	ttlUsual = 2 * time.Second
	ttlMove  = time.Second
)

// Named makes a data centre with these settings serve the moving VM's name.
func Named(s *Settings) *NameService {
	n := &NameService{}
	s.fabric, s.names = n.start, n
	return n
}

// NameService is a primary beside the management node and a secondary at the
// correspondent node, where clients ask: real named.
type NameService struct {
	Key                bind.Key // that the management node signs with
	Primary, Secondary *bind.Server

	vm topology.VM
	dc *DataCentre

	first bind.Config // of the primary
}

// start brings both up and writes the key that the management node signs with.
func (n *NameService) start(_ context.Context, d *DataCentre) error {
	n.dc = d
	n.vm, _ = d.Lab.Plan.VM(mover)
	n.Key = bind.NewKey("mgmt.", "hmac-sha256")
	if err := n.Sign(n.Key); err != nil {
		return err
	}
	first, second := bind.Config{Addr: d.Lab.Plan.Mgmt.V6, Keys: []bind.Key{n.Key}}, bind.Config{Addr: d.Lab.Plan.CN.V6}
	for _, z := range nameZones {
		zone := bind.Zone{Name: z, Notify: []netip.Addr{second.Addr}, Transfer: true, NS: "ns1." + zoneForward, Policy: []string{"mgmt. zonesub A AAAA SRV PTR TXT"}}
		if z == zoneForward {
			zone.Records = []string{"ns1 300 IN AAAA " + first.Addr.String()}
		}
		first.Zones = append(first.Zones, zone)
		second.Zones = append(second.Zones, bind.Zone{Name: z, Primaries: []netip.Addr{first.Addr}})
	}
	n.first = first
	var err, serr error
	n.Primary, err = n.run(topology.Mgmt, "named-primary", first)
	n.Secondary, serr = n.run(topology.CN, "named-secondary", second)
	return errors.Join(err, serr)
}

// Sign gives the management node a key; it takes it with a reload.
func (n *NameService) Sign(k bind.Key) error {
	return k.WriteFile(filepath.Join(n.dc.Lab.Node(topology.Mgmt).Dir, "dns.key"))
}

// Roll makes the primary take another key, and no more the one before.
func (n *NameService) Roll(k bind.Key) error {
	n.first.Keys = []bind.Key{k}
	if err := n.Primary.Configure(n.first); err != nil {
		return err
	}
	return n.Primary.Reload()
}

func (n *NameService) run(node, name string, c bind.Config) (*bind.Server, error) {
	s, err := bind.New(n.dc.Lab.Node(node).NS, filepath.Join(n.dc.Lab.Set.Dir(), name), c)
	if err != nil {
		return nil, err
	}
	return s, s.Start()
}

// tables is [dns] of mgmt.toml.
func (n *NameService) tables() string {
	if n == nil {
		return ""
	}
	p := &n.dc.Lab.Plan
	var b strings.Builder
	fmt.Fprintf(&b, "\n[dns]\nfirst_retry = \"20ms\"\nmax_retry = \"1s\"\nproof_timeout = \"500ms\"\nmove_ttl = %q\n", ttlMove)
	for _, z := range nameZones {
		fmt.Fprintf(&b, "\n[[dns.zone]]\nname = %q\nservers = [\"[%s]:53\"]\nsecondaries = [\"[%s]:53\"]\nkeys = [\"dns.key\"]\n", z, p.Mgmt.V6, p.CN.V6)
	}
	return b.String()
}

// services are the VM's lines in the inventory.
func (n *NameService) services() map[string]string {
	if n == nil {
		return nil
	}
	return map[string]string{n.vm.ID: fmt.Sprintf(`
[vm.services]
ttl = %q
reverse = %[2]q
names = [{ name = %[2]q }]
srv = [{ name = "_http._tcp.dc1.example", port = %[3]d, target = %[2]q }]
`, ttlUsual, nameOfVM, portNamed)}
}

// Addresses asks the secondary for the VM's addresses of a family, as a client of the
// correspondent node.
func (n *NameService) Addresses(ctx context.Context, family int) (addrs []netip.Addr, ttl time.Duration, err error) {
	qtype := dns.TypeAAAA
	if family == 4 {
		qtype = dns.TypeA
	}
	m := new(dns.Msg)
	m.SetQuestion(nameOfVM, qtype)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	at := netip.AddrPortFrom(n.dc.Lab.Plan.CN.V6, 53)
	conn, err := n.dc.Lab.Node(topology.CN).NS.Dial(ctx, &net.Dialer{}, "udp", at.String())
	if err != nil {
		return nil, 0, fmt.Errorf("scenario: %s: %w", at, err)
	}
	defer conn.Close()
	r, _, err := (&dns.Client{Timeout: 2 * time.Second}).ExchangeWithConnContext(ctx, m, &dns.Conn{Conn: conn})
	if err != nil {
		return nil, 0, fmt.Errorf("scenario: %s for %s: %w", at, nameOfVM, err)
	}
	for _, rr := range r.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			a, _ := netip.AddrFromSlice(rr.A.To4())
			addrs = append(addrs, a)
		case *dns.AAAA:
			a, _ := netip.AddrFromSlice(rr.AAAA)
			addrs = append(addrs, a)
		}
		ttl = time.Duration(rr.Header().Ttl) * time.Second
	}
	return addrs, ttl, nil
}
