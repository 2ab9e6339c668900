package bgp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/router"
)

var (
	addrs    = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	prefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	now      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixList(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// config is dc1 with a border of dc2, a provider, and an IPv4 session to dc2.
func config() *Config {
	return &Config{
		ASN: 65001, RouterID: addr("10.0.0.1"),
		Own:    Site{Name: "dc1", Locators: prefixList("2001:db8:1::/48", "10.1.0.0/16")},
		Sites:  []Site{{Name: "dc2", Locators: prefixList("2001:db8:2::/48"), NextHops: []netip.Addr{addr("2001:db8:f::2")}}},
		Put:    Tags{Standard: []Community{65000<<16 | 5436}, Large: []Large{{65000, 5436, 1}}},
		Want:   Tags{Standard: []Community{65000<<16 | 5436}, Large: []Large{{65000, 5436, 2}}},
		Ranges: prefixList("2001:db8:a::/48", "10.9.0.0/16"),
		Peers: []Peer{
			{Name: "dc2", Address: addr("2001:db8:f::2"), ASN: 65002, Announce: ScopeArrived, Accept: true},
			{Name: "provider", Address: addr("2001:db8:e::9"), ASN: 64999, Announce: ScopeAll, NoExport: true},
			{Name: "dc2-v4", Address: addr("10.255.0.2"), ASN: 65002, Announce: ScopeArrived, Accept: true},
			{Name: "silent", Address: addr("2001:db8:f::3"), ASN: 65003, Announce: ScopeNone, Accept: true},
		},
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if err := config().Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"asn: is missing":                    func(c *Config) { c.ASN = 0 },
		"router_id: want an IPv4":            func(c *Config) { c.RouterID = addr("2001:db8::1") },
		"ranges: is empty":                   func(c *Config) { c.Ranges = nil },
		"locators: is empty":                 func(c *Config) { c.Own.Locators = nil },
		"overlaps":                           func(c *Config) { c.Sites[0].Locators = prefixList("2001:db8::/32") },
		"are of one family":                  func(c *Config) { c.Own.NextHops = []netip.Addr{addr("10.0.0.1"), addr("10.0.0.2")} },
		"cannot be one":                      func(c *Config) { c.Own.NextHops = []netip.Addr{addr("::1")} },
		"is used twice":                      func(c *Config) { c.Peers[1].Name = "dc2" },
		"address: 2001:db8:f::2 is used":     func(c *Config) { c.Peers[1].Address = c.Peers[0].Address },
		`peer "provider": announce`:          func(c *Config) { c.Peers[1].Announce = ScopeInvalid },
		"no community says":                  func(c *Config) { c.Want = Tags{} },
		"is not of the family":               func(c *Config) { c.Peers[0].Local = addr("10.0.0.1") },
		"longer than 80 bytes":               func(c *Config) { c.Peers[0].Password = strings.Repeat("x", 81) },
		"nobody would connect":               func(c *Config) { c.Peers[0].Passive = true },
		"65000:4294967295:1: 4294967295 is":  func(c *Config) { c.Put.Large[0].Local1 = reserved },
		`peer "dc2": asn: is missing`:        func(c *Config) { c.Peers[0].ASN = 0 },
		"peer 2001:db8:e::9: name: is missi": func(c *Config) { c.Peers[1].Name = "" },
	} {
		c := config()
		change(c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check = %v, want %q", err, want)
		}
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	tags := config().Put
	for _, c := range []struct {
		name, address, locator, kernel string
		want                           *Announcement
		err                            error
	}{
		{name: "arrived here", address: "2001:db8:a::7", locator: "2001:db8:1::b",
			want: &Announcement{NextHop: addr("::"), Tags: tags, To: []string{"dc2", "provider"}}},
		{name: "arrived here, IPv4", address: "10.9.0.7", locator: "10.1.0.3",
			want: &Announcement{NextHop: addr("0.0.0.0"), Tags: tags, To: []string{"dc2-v4"}}},
		{name: "left to another site", address: "2001:db8:a::7", locator: "2001:db8:2::b",
			want: &Announcement{NextHop: addr("2001:db8:f::2"), Tags: tags, To: []string{"provider"}}},
		{name: "outside the ranges", address: "2001:db8:b::7", locator: "2001:db8:1::b", err: ErrOutOfRange},
		{name: "nobody's locator", address: "2001:db8:a::7", locator: "2001:db8:3::b", err: ErrUnknownSite},
		{name: "not in the kernel", address: "2001:db8:a::7", locator: "2001:db8:1::b", kernel: "no route to host", err: ErrNotInKernel},
	} {
		r := router.Route{Address: addr(c.address), Locator: addr(c.locator), Since: now, Err: c.kernel}
		got, err := NewPolicy(config()).Export(&r)
		if c.want != nil {
			c.want.Prefix = netip.PrefixFrom(r.Address, r.Address.BitLen())
		}
		if diff := cmp.Diff(c.want, got, addrs, prefixes); diff != "" || !errors.Is(err, c.err) {
			t.Errorf("%s: err %v, want %v (-want +got):\n%s", c.name, err, c.err, diff)
		}
	}
}

func TestExportNeedsANextHopOfTheOtherSite(t *testing.T) {
	t.Parallel()
	c := config()
	c.Sites[0].NextHops = nil
	r := router.Route{Address: addr("2001:db8:a::7"), Locator: addr("2001:db8:2::b"), Since: now}
	if _, err := NewPolicy(c).Export(&r); !errors.Is(err, ErrNoNextHop) {
		t.Errorf("err = %v, want ErrNoNextHop", err)
	}
	c.Peers = nil
	if _, err := NewPolicy(c).Export(&r); !errors.Is(err, ErrNobody) {
		t.Errorf("err = %v, want ErrNobody", err)
	}
}

// heard is a route of dc2's border that is believed.
func heard(change func(*Update)) Update {
	u := Update{Peer: addr("2001:db8:f::2"), Prefix: netip.MustParsePrefix("2001:db8:a::7/128"), NextHop: addr("2001:db8:f::2"),
		Tags: Tags{Standard: []Community{1, 65000<<16 | 5436}}, Path: []uint32{65002}}
	if change != nil {
		change(&u)
	}
	return u
}

func TestImport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Update)
		want   error
	}{
		{"by standard community", nil, nil},
		{"by large community", func(u *Update) { u.Tags = Tags{Large: []Large{{65000, 5436, 2}}} }, nil},
		{"IPv4", func(u *Update) { u.Prefix, u.NextHop = netip.MustParsePrefix("10.9.1.1/32"), addr("10.255.0.2") }, nil},
		{"no community", func(u *Update) { u.Tags = Tags{} }, ErrCommunity},
		{"another's community", func(u *Update) { u.Tags = Tags{Standard: []Community{65000<<16 | 1}, Large: []Large{{65000, 5436, 1}}} }, ErrCommunity},
		{"outside the ranges", func(u *Update) { u.Prefix = netip.MustParsePrefix("2001:db8:b::7/128") }, ErrOutOfRange},
		{"a prefix", func(u *Update) { u.Prefix = netip.MustParsePrefix("2001:db8:a::/64") }, ErrNotHostRoute},
		{"default route", func(u *Update) { u.Prefix = netip.MustParsePrefix("::/0") }, ErrNotHostRoute},
		{"a peer that only listens", func(u *Update) { u.Peer = addr("2001:db8:e::9") }, ErrUnknownPeer},
		{"a stranger", func(u *Update) { u.Peer = addr("2001:db8:e::1") }, ErrUnknownPeer},
		{"no next hop", func(u *Update) { u.NextHop = addr("::") }, ErrBadNextHop},
		{"itself as next hop", func(u *Update) { u.NextHop = u.Prefix.Addr() }, ErrBadNextHop},
	} {
		u := heard(c.change)
		if err := NewPolicy(config()).Import(&u); !errors.Is(err, c.want) {
			t.Errorf("%s: err = %v, want %v", c.name, err, c.want)
		}
	}
}

func TestCommunitiesAsText(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"65000:1", "0:0", "65535:65281"} {
		c, err := ParseCommunity(s)
		if want := strings.Replace(s, "65535:65281", "no-export", 1); err != nil || c.String() != want {
			t.Errorf("%s: %v, %v", s, c, err)
		}
	}
	for _, s := range []string{"", "1", "1:2:3", "65536:1", "a:1", "-1:1"} {
		if c, err := ParseCommunity(s); err == nil {
			t.Errorf("community %q read as %v", s, c)
		}
		if s != "1:2:3" && s != "1" {
			if l, err := ParseLarge(s + ":1"); err == nil && s != "65536:1" {
				t.Errorf("large community %q read as %v", s, l)
			}
		}
	}
	if l, err := ParseLarge("4294967295:0:7"); err != nil || l.String() != "4294967295:0:7" {
		t.Errorf("%v, %v", l, err)
	}
}
