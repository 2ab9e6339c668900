package bind_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/peers/bind"
)

// TestMain removes what a killed run left behind before it begins.
func TestMain(m *testing.M) {
	if _, err := netns.Sweep("", "bind-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const (
	forward  = "dc1.example."
	reverse4 = "0.0.10.in-addr.arpa."
	reverse6 = "8.b.d.0.1.0.0.2.ip6.arpa."
)

var (
	primaryAddr   = netip.MustParseAddr("127.0.0.1")
	secondaryAddr = netip.MustParseAddr("127.0.0.2")
	primaryPort   = netip.AddrPortFrom(primaryAddr, 53)
	secondaryPort = netip.AddrPortFrom(secondaryAddr, 53)
	vm1           = mobility.NAI("vm1@dc1.example")
)

// pair is a primary and a secondary on the loopback of a namespace of its own.
type pair struct {
	ns                 *netns.NS
	dir                string
	config             bind.Config // of the primary
	primary, secondary *bind.Server
	mgmt, vm           bind.Key // of all zones, of vm1's names only
}

// start brings both up; everything is gone after the test, however it ends. With
// change the primary's configuration can be altered before.
func start(t testing.TB, change func(*bind.Config)) *pair {
	t.Helper()
	set, err := netns.Open("", "bind")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(set.Dir()); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", set.Dir(), err)
		}
	})
	p := &pair{dir: set.Dir(), mgmt: bind.NewKey("mgmt.", "hmac-sha512"), vm: bind.NewKey("vm1.", "hmac-sha256")}
	if p.ns, err = set.Create("dns"); err != nil {
		t.Fatal(err)
	}
	if err := p.ns.AddAddr("lo", netip.PrefixFrom(secondaryAddr, 32)); err != nil {
		t.Fatal(err)
	}
	p.config = primaryConfig(p.mgmt, p.vm)
	if change != nil {
		change(&p.config)
	}
	p.primary = p.server(t, "primary", p.config)
	p.secondary = p.server(t, "secondary", secondaryConfig())
	return p
}

// primaryConfig is the configuration that docs/dns.md shows.
func primaryConfig(mgmt, vm bind.Key) bind.Config {
	notify := []netip.Addr{secondaryAddr}
	zone := func(name string, policy ...string) bind.Zone {
		return bind.Zone{Name: name, Policy: policy, Notify: notify, Transfer: true, NS: "ns1." + forward}
	}
	z := zone(forward,
		"mgmt. zonesub A AAAA SRV TXT",
		"vm1. subdomain www.dc1.example. A AAAA TXT",
		"vm1. subdomain _http._tcp.dc1.example. SRV TXT",
	)
	z.Records = []string{"ns1 300 IN A " + primaryAddr.String()}
	return bind.Config{Addr: primaryAddr, Keys: []bind.Key{mgmt, vm}, Recursion: true, Zones: []bind.Zone{
		z, zone(reverse4, "mgmt. zonesub PTR TXT"), zone(reverse6, "mgmt. zonesub PTR TXT"),
	}}
}

func secondaryConfig() bind.Config {
	c := bind.Config{Addr: secondaryAddr}
	for _, name := range []string{forward, reverse4, reverse6} {
		c.Zones = append(c.Zones, bind.Zone{Name: name, Primaries: []netip.Addr{primaryAddr}})
	}
	return c
}

func (p *pair) server(t testing.TB, name string, cfg bind.Config) *bind.Server {
	t.Helper()
	s, err := bind.New(p.ns, filepath.Join(p.dir, name), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, s.Log())
		}
	})
	return s
}

func (p *pair) client() *dnsupdate.Client {
	return &dnsupdate.Client{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		return p.ns.Dial(ctx, &net.Dialer{}, network, address)
	}}
}

// load writes the keys to files and reads them back as an operator's node does.
func load(t testing.TB, keys ...bind.Key) []dnsupdate.Key {
	t.Helper()
	var out []dnsupdate.Key
	for _, k := range keys {
		path := filepath.Join(t.TempDir(), "key")
		if err := k.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		got, err := dnsupdate.LoadKeys(path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, got...)
	}
	return out
}

// zones are the three, with the keys given and both servers.
func zones(t testing.TB, keys ...bind.Key) []dnsupdate.Zone {
	t.Helper()
	var list []dnsupdate.Zone
	loaded := load(t, keys...)
	for _, name := range []string{forward, reverse4, reverse6} {
		list = append(list, dnsupdate.Zone{
			Name: name, Servers: []netip.AddrPort{primaryPort}, Secondaries: []netip.AddrPort{secondaryPort}, Keys: loaded,
		})
	}
	return list
}

// host is one node that updates: an Updater that runs until the test ends.
type host struct {
	*dnsupdate.Updater
	zones   *dnsupdate.Directory
	reports chan dnsupdate.Job
}

var fast = dnsupdate.Timing{First: 20 * time.Millisecond, Max: 200 * time.Millisecond, Proof: 5 * time.Second}

func (p *pair) host(t testing.TB, c *dnsupdate.Client, zones []dnsupdate.Zone, timing dnsupdate.Timing) *host {
	t.Helper()
	h := &host{reports: make(chan dnsupdate.Job, 1000)}
	h.zones = dnsupdate.NewDirectory(c, primaryPort, zones)
	h.Updater = dnsupdate.NewUpdater(c, h.zones, timing, func(j dnsupdate.Job) { h.reports <- j })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

// deadline of everything that is waited for.
const deadline = 60 * time.Second

// submit plans the state and hands it over.
func (h *host) submit(t testing.TB, s dnsupdate.State) {
	t.Helper()
	j, err := h.Plan(s, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Submit(t.Context(), j); err != nil {
		t.Fatal(err)
	}
}

// until waits for a report of the state's job that satisfies ok.
func (h *host) until(t testing.TB, what string, ok func(dnsupdate.Job) bool) dnsupdate.Job {
	t.Helper()
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	var last dnsupdate.Job
	for {
		select {
		case last = <-h.reports:
			if ok(last) {
				return last
			}
		case <-timer.C:
			t.Fatalf("no report says %s; the last one: %v", what, last.Err())
		}
	}
}

// settle waits for the end of the job of this version.
func (h *host) settle(t testing.TB, v dnsupdate.Version) dnsupdate.Job {
	t.Helper()
	return h.until(t, "final", func(j dnsupdate.Job) bool { return j.Version == v && j.Final() })
}

// publish is submit and settle; the job must be proved.
func (h *host) publish(t testing.TB, s dnsupdate.State) dnsupdate.Job {
	t.Helper()
	h.submit(t, s)
	j := h.settle(t, s.Version)
	if err := j.Err(); err != nil {
		t.Fatal(err)
	}
	return j
}

// failure waits until a zone reports a failure of the kind.
func (h *host) failure(t testing.TB, k dnsupdate.FailureKind) *dnsupdate.Failure {
	t.Helper()
	var f *dnsupdate.Failure
	h.until(t, k.String(), func(j dnsupdate.Job) bool {
		for _, z := range j.Zones {
			if z.Failure != nil && z.Failure.Kind == k {
				f = z.Failure
			}
		}
		return f != nil
	})
	return f
}

func addrList(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, s := range texts {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

// www is vm1 at its first place.
func www() dnsupdate.State {
	return dnsupdate.State{
		VM: vm1, Version: dnsupdate.Version{Epoch: 1, Step: 1},
		Published: addrList("10.0.0.1", "2001:db8::1"),
		Services: dnsupdate.Services{
			Names:   []dnsupdate.Name{{Name: "www.dc1.example"}},
			SRV:     []dnsupdate.SRV{{Name: "_http._tcp.dc1.example", Port: 80, Target: "www.dc1.example"}},
			Reverse: "www.dc1.example",
		},
	}
}

// nameOnly is www without what a VM's own key may not write.
func nameOnly() dnsupdate.State {
	s := www()
	s.Services.SRV, s.Services.Reverse = nil, ""
	return s
}
