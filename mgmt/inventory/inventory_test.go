package inventory

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/internal/peerconf"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/mobility/wire"
)

const good = `
[[hypervisor]]
name = "a"
locators = ["192.0.2.1", "2001:db8:a::1"]
ranges = ["2001:db8:a:1::/64", "10.1.0.0/16"]
pools = ["2001:db8:a:d::/96"]
router = "ta"
keys = [{ send = 300, receive = 301, key = "hex:000102030405060708090a0b0c0d0e0f" },
        { send = 302, receive = 303, algorithm = "hmac-sha1-96", key = "hex:000102030405060708090a0b0c0d0e0f" }]
[[hypervisor]]
name = "b"
locators = ["2001:db8:b::1"]
router = "tb"
[[router]]
name = "ta"
role = "tor"
locators = ["2001:db8:f::a"]
uplinks = ["s1", "s2"]
[[router]]
name = "tb"
role = "tor"
locators = ["2001:db8:f::b"]
uplinks = ["s1"]
[[router]]
name = "s1"
role = "spine"
locators = ["2001:db8:f::1"]
[[router]]
name = "s2"
role = "spine"
locators = ["2001:db8:f::2"]
[[router]]
name = "alone"
role = "border"
locators = ["2001:db8:f::3"]
[policy]
tickets = false
[policy.defaults]
redirect = "routed"
[[policy.allow]]
vms = ["*@dc1"]
from = ["a"]
[[vm]]
id = "vm1@dc1"
hypervisors = ["a"]
[lifetimes]
grace = "3s"
[timers]
heartbeat = "2s"
`

func mustParse(t *testing.T, text string) *Inventory {
	t.Helper()
	inv, err := Parse("i.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func TestParse(t *testing.T) {
	t.Parallel()
	inv := mustParse(t, good)
	a := inv.Hypervisors["a"]
	if a.Locator() != netip.MustParseAddr("2001:db8:a::1") || a.Locator4() != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("locators: %v, %v: want IPv6 first", a.Locator(), a.Locator4())
	}
	secret := a.Keys[0].Secret.Bytes()
	want := transport.Peer{
		Addr: a.Locator(), Send: transport.Key{SPI: 300, Algorithm: wire.HMACSHA256, Secret: secret},
		Receive: []transport.Key{{SPI: 301, Algorithm: wire.HMACSHA256, Secret: secret}, {SPI: 303, Algorithm: wire.HMACSHA1, Secret: secret}},
	}
	if d := cmp.Diff(want, peerconf.Peer(a.Locator(), a.Keys), cmp.Comparer(func(x, y netip.Addr) bool { return x == y })); len(secret) != 16 || d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
	if got := inv.Home(netip.MustParseAddr("10.1.2.3")); got != "a" {
		t.Errorf("home = %q", got)
	}
	if got := inv.Peer(netip.MustParseAddr("::ffff:192.0.2.1")); got != "a" {
		t.Errorf("peer of a mapped locator = %q", got)
	}
	p := inv.Policy
	if p.Tickets || p.Defaults.Redirect != mobility.RedirectRouted || p.Defaults.Mode != mobility.ModeHot {
		t.Errorf("policy: %+v", p)
	}
	if inv.Lifetimes.Grace != 3*time.Second || inv.Lifetimes.Binding != 10*time.Minute || inv.Timers.Heartbeat != 2*time.Second || inv.Timers.Misses != 3 {
		t.Errorf("times: %+v %+v", inv.Lifetimes, inv.Timers)
	}
}

// TestProbes: a range of probe addresses turns their proofs on.
func TestProbes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]ProofPolicy{
		`proofs = { deadline = "2s" }`:                                 ProofOff,
		`proofs = { probes = ["2001:db8:9::/64"] }`:                    ProofAsk,
		`proofs = { probes = ["10.9.0.0/28"], announced = "require" }`: ProofRequire,
		`proofs = { probes = ["2001:db8:9::/64"], announced = "off" }`: ProofOff,
	} {
		p := mustParse(t, strings.Replace(good, "tickets = false", text, 1)).Policy.Proofs
		if p.Announced != want {
			t.Errorf("%s: announced = %s, want %s", text, p.Announced, want)
		}
	}
}

func TestOutwards(t *testing.T) {
	t.Parallel()
	inv := mustParse(t, good)
	want := []Step{{"tb", 0, nil}, {"s1", 1, []string{"tb"}}, {"ta", 2, []string{"s1"}}, {"s2", 3, []string{"ta"}}}
	if d := cmp.Diff(want, inv.Outwards("b")); d != "" {
		t.Errorf("from b (-want +got):\n%s", d)
	}
	if got := inv.Outwards("nobody"); got != nil {
		t.Errorf("from nobody: %v", got)
	}
}

func TestMayMoveAndRegister(t *testing.T) {
	t.Parallel()
	inv := mustParse(t, good)
	for _, tc := range []struct {
		err  *mobility.StatusError
		want mobility.Status
	}{
		{inv.MayMove(mobility.NAI("vm1@dc1"), "a", "b"), 0},
		{inv.MayMove(mobility.NAI("vm1@dc1"), "b", "a"), mobility.StatusProhibited},
		{inv.MayMove(mobility.NAI("vm1@dc2"), "a", "b"), mobility.StatusProhibited},
		{inv.MayRegister(mobility.NAI("vm1@dc1"), "a"), 0},
		{inv.MayRegister(mobility.NAI("vm1@dc1"), "b"), mobility.StatusProhibited},
		{inv.MayRegister(mobility.NAI("vm2@dc1"), "a"), mobility.StatusNotVMForThisNode},
	} {
		var got mobility.Status
		if tc.err != nil {
			got = tc.err.Status
		}
		if got != tc.want {
			t.Errorf("%v: status %v, want %v", tc.err, got, tc.want)
		}
	}
}

// TestMayLeave: what the site's NAT box hides stays in the site; everything
// else may go, also where only one side is in a site.
func TestMayLeave(t *testing.T) {
	t.Parallel()
	text := `
[[site]]
name = "dc1"
nat = ["172.16.0.0/12", "fd00::/8"]
[[site]]
name = "dc2"
`
	for _, h := range []struct{ name, site string }{{"a", "dc1"}, {"b", "dc1"}, {"c", "dc2"}, {"d", ""}} {
		text += fmt.Sprintf("[[hypervisor]]\nname = %q\nlocators = [\"2001:db8:%s::1\"]\n", h.name, h.name)
		if h.site != "" {
			text += fmt.Sprintf("site = %q\n", h.site)
		}
	}
	inv := mustParse(t, text)
	for _, tc := range []struct {
		from, to, addr string
		want           string
	}{
		{"a", "b", "172.16.1.5", ""},
		{"a", "c", "10.1.1.5", ""},
		{"a", "c", "172.16.1.5", "172.16.1.5 of vm vm1@dc1 is behind the NAT box of site dc1, and c is in site dc2"},
		{"a", "c", "fd00::5", "fd00::5 of vm vm1@dc1 is behind the NAT box of site dc1"},
		{"a", "d", "172.16.1.5", "d is in no site"},
		{"c", "a", "172.16.1.5", ""}, // dc2 has no NAT box that would know of it
		{"d", "a", "172.16.1.5", ""},
	} {
		err := inv.MayLeave(mobility.NAI("vm1@dc1"), []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr(tc.addr)}, tc.from, tc.to)
		switch {
		case tc.want == "" && err != nil, tc.want != "" && err == nil:
			t.Errorf("%s -> %s with %s: %v, want %q", tc.from, tc.to, tc.addr, err, tc.want)
		case err != nil && (err.Status != mobility.StatusProhibited || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s -> %s with %s: status %v, %v; want 129, %q", tc.from, tc.to, tc.addr, err.Status, err, tc.want)
		}
	}
}

// TestErrorsNameFileAndLine: each row replaces one line of the good file.
func TestErrorsNameFileAndLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ old, new, want string }{
		"overlapping ranges":       {`router = "tb"`, "ranges = [\"2001:db8:a:1:8000::/80\"]\nrouter = \"tb\"", "i.toml:13: hypervisor[1].ranges[0]: 2001:db8:a:1:8000::/80 overlaps 2001:db8:a:1::/64 of hypervisor[0].ranges[0] (line 5)"},
		"pool in a range":          {`router = "tb"`, "pools = [\"10.1.1.0/24\"]", "i.toml:13: hypervisor[1].pools[0]: 10.1.1.0/24 overlaps"},
		"narrow pool":              {`pools = ["2001:db8:a:d::/96"]`, `pools = ["2001:db8:a:d::/112"]`, "i.toml:6: hypervisor[0].pools[0]: 2001:db8:a:d::/112 is too narrow"},
		"duplicate locator":        {`"2001:db8:f::b"`, `"2001:db8:a::1"`, "i.toml:22: router[1].locators[0]: 2001:db8:a::1 is already a locator of \"a\""},
		"name of another":          {`name = "s2"`, `name = "a"`, "i.toml:29: router[3].name: \"a\" is used twice"},
		"no locator":               {`["2001:db8:b::1"]`, `[]`, "i.toml:12: hypervisor[1].locators: is empty"},
		"link-local locator":       {`"2001:db8:b::1"`, `"fe80::1"`, "i.toml:12: hypervisor[1].locators[0]: fe80::1 cannot be a locator"},
		"unknown site":             {`router = "tb"`, `site = "dc9"`, "i.toml:13: hypervisor[1].site: no site is called \"dc9\""},
		"site without a name":      {`router = "tb"`, "router = \"tb\"\n[[site]]\nname = \"\"", "site[0].name: is empty"},
		"site twice":               {`router = "tb"`, "router = \"tb\"\n[[site]]\nname = \"x\"\n[[site]]\nname = \"x\"", "site[1].name: \"x\" is used twice"},
		"unknown router":           {`router = "tb"`, `router = "tx"`, "i.toml:13: hypervisor[1].router: no router is called \"tx\""},
		"unknown uplink":           {`uplinks = ["s1"]`, `uplinks = ["sx"]`, "i.toml:23: router[1].uplinks[0]: no router is called \"sx\""},
		"own uplink":               {`uplinks = ["s1"]`, `uplinks = ["tb"]`, "router[1].uplinks[0]: \"tb\" cannot be its own uplink"},
		"unknown role":             {`role = "border"`, `role = "leaf"`, "i.toml:34: router[4].role: \"leaf\" is not a role"},
		"SPI of another direction": {`receive = 303`, `receive = 300`, "i.toml:9: hypervisor[0].keys[1].receive: SPI 300 is already hypervisor[0].keys[0].send (line 8)"},
		"reserved SPI":             {`send = 300`, `send = 255`, "i.toml:8: hypervisor[0].keys[0].send: SPI 255 is reserved"},
		"three keys":               {`keys = [`, "keys = [{ send = 304, receive = 305, key = \"hex:000102030405060708090a0b0c0d0e0f\" },\n", "i.toml:10: hypervisor[0].keys[2]: is one too many"},
		"unknown algorithm":        {`"hmac-sha1-96"`, `"md5"`, "i.toml:9: hypervisor[0].keys[1].algorithm: \"md5\" is not known"},
		"unknown key":              {`tickets = false`, `ticket = false`, "i.toml:37: policy.ticket: unknown key"},
		"wrong type":               {`tickets = false`, `tickets = "no"`, "i.toml:37: policy.tickets: is a string, want true or false"},
		"observer twice":           {`[[vm]]`, "[[observer]]\nname = \"far\"\n[[observer]]\nname = \"far\"\n[[vm]]", "i.toml:46: observer[1].name: \"far\" is used twice"},
		"observer like a router":   {`[[vm]]`, "[[observer]]\nname = \"ta\"\n[[vm]]", "i.toml:44: observer[0].name: \"ta\" is used twice"},
		"unknown observer":         {`tickets = false`, `proofs = { observers = ["far"] }`, "i.toml:37: policy.proofs.observers[0]: no router and no observer is called \"far\""},
		"outside and inside":       {`tickets = false`, `proofs = { observers = ["ta"], outside = ["ta"] }`, "i.toml:37: policy.proofs.outside[0]: \"ta\" is one of the observers"},
		"unknown outside":          {`tickets = false`, `proofs = { outside = ["far"] }`, "i.toml:37: policy.proofs.outside[0]: no router and no observer is called \"far\""},
		"no policy of proofs":      {`tickets = false`, `proofs = { announced = "yes" }`, "\"yes\" is no policy of proofs"},
		"nothing to announce":      {`tickets = false`, `proofs = { announced = "ask" }`, "i.toml:37: policy.proofs.announced: ask needs policy.proofs.probes"},
		"few probe addresses":      {`tickets = false`, `proofs = { probes = ["2001:db8::/125"] }`, "i.toml:37: policy.proofs.probes[0]: 2001:db8::/125 is too narrow for the moves that are prepared at a time, want /124 or wider"},
		"probes of a hypervisor":   {`tickets = false`, `proofs = { probes = ["10.1.254.0/24"] }`, "i.toml:37: policy.proofs.probes[0]: 10.1.254.0/24 overlaps 10.1.0.0/16 of hypervisor[0].ranges[1] (line 5)"},
		"senseless default":        {`redirect = "routed"`, `new = "drop"`, "policy.defaults: mobility: new connections cannot be drop"},
		"bad word":                 {`redirect = "routed"`, `redirect = "tunnelled"`, "i.toml:39: policy.defaults.redirect: mobility: redirect \"tunnelled\" is not known"},
		"rule with an unknown":     {`from = ["a"]`, `from = ["a", "z"]`, "i.toml:42: policy.allow[0].from[1]: no hypervisor is called \"z\""},
		"vm at an unknown":         {`hypervisors = ["a"]`, `hypervisors = ["q"]`, "i.toml:45: vm[0].hypervisors[0]: no hypervisor is called \"q\""},
		"vm twice":                 {`hypervisors = ["a"]`, "[[vm]]\nid = \"vm1@dc1\"", "i.toml:46: vm[1].id: vm1@dc1 is listed twice"},
		"name is no name":          {`hypervisors = ["a"]`, "services = { names = [{ name = \"a..b\" }] }", "i.toml:45: vm[0].services: dnsupdate: bad service list: names[0]: \"a..b\" is not a domain name"},
		"unknown key of a service": {`hypervisors = ["a"]`, "services = { names = [{ name = \"a.b\", tll = \"5s\" }] }", "vm[0].services.names[0].tll: unknown key"},
		"srv to nowhere":           {`hypervisors = ["a"]`, "services = { srv = [{ name = \"_x._tcp.b\", port = 1, target = \"a.b\" }] }", "i.toml:45: vm[0].services: dnsupdate: bad service list: srv[0]: target \"a.b\" is not one of the VM's names"},
		"standby for itself":       {`hypervisors = ["a"]`, "standby = true\nservices = { names = [{ name = \"a.b\" }] }", "i.toml:45: vm[0].standby: is for a VM all of whose names are shared"},
		"one name for two":         {`hypervisors = ["a"]`, "services = { names = [{ name = \"a.b\" }] }\n[[vm]]\nid = \"vm2@dc1\"\nservices = { names = [{ name = \"A.b.\", shared = true }] }", "i.toml:48: vm[1].services.names: A.b. is already a name of vm[0].services (line 45)"},
		"bad vm":                   {`"vm1@dc1"`, `"vm 1"`, "i.toml:44: vm[0].id: mobility: bad VM identifier"},
		"lifetime too short":       {`grace = "3s"`, `binding = "1s"`, "i.toml:47: lifetimes.binding: 1s does not fit the wire"},
		"negative misses":          {`heartbeat = "2s"`, `misses = -1`, "i.toml:49: timers.misses: -1 is negative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(good, tc.old) {
				t.Fatalf("%q is not in the good file", tc.old)
			}
			_, err := Parse("i.toml", []byte(strings.Replace(good, tc.old, tc.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("err = %v\nwant it to contain %q", err, tc.want)
			}
			var ce *strictconf.Error
			if !errors.As(err, &ce) || ce.Line == 0 {
				t.Errorf("err = %#v: no line", err)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	now := strings.NewReplacer(`name = "alone"`, `name = "other"`, `router = "tb"`, `router = "ta"`, `grace = "3s"`, `grace = "4s"`,
		"vm1@dc1", "vm2@dc1", `tickets = false`, `tickets = true`, `heartbeat = "2s"`, `heartbeat = "1s"`).Replace(good)
	want := []string{
		"hypervisor b: changed", "lifetimes: changed, for what is granted from now on", "policy: changed", "router alone: removed", "router other: added",
		"timers: changed, but only a restart puts them in force", "vm vm1@dc1: removed", "vm vm2@dc1: added",
	}
	if d := cmp.Diff(want, Changes(mustParse(t, good), mustParse(t, now))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if c := Changes(mustParse(t, good), mustParse(t, good)); c != nil {
		t.Errorf("nothing changed, but: %v", c)
	}
}

func ExampleInventory_Outwards() {
	inv, err := Parse("i.toml", []byte(good))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range inv.Outwards("b") {
		fmt.Println(s.Distance, s.Router, s.After)
	}
	// Output:
	// 0 tb []
	// 1 s1 [tb]
	// 2 ta [s1]
	// 3 s2 [ta]
}
