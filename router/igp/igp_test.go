package igp

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeFRR answers from a table; what is not in it is a daemon that does not run.
type fakeFRR map[string]string

func (f fakeFRR) Show(_ context.Context, command string) ([]byte, error) {
	if text, ok := f[command]; ok {
		return []byte(text), nil
	}
	return []byte("ospf6d is not running\n"), nil
}

var vm = netip.MustParsePrefix("2001:db8:a::7/128")

// good is an FRR 8.4 that does everything right, with two protocols.
func good(o *Options) fakeFRR {
	return fakeFRR{
		"show running-config":                      "!\nfrr version 8.4.4\n" + o.Fragment() + "ip protocol isis route-map TOLD\nipv6 protocol isis route-map TOLD\nend\n",
		"show ipv6 ospf6 json":                     `{"spfScheduleDelayMsecs":0,"lsaMinimumArrivalMsecs":0}`,
		"show ipv6 ospf6 neighbor json":            `{"neighbors":[{"neighborId":"10.0.0.2","state":"Full","interfaceName":"f0"}]}`,
		"show ipv6 ospf6 interface json":           `{"f0":{"interfaceMtu":1500}}`,
		"show ip ospf json":                        `{"spfScheduleDelayMsecs":0,"lsaMinArrivalMsecs":0}`,
		"show ip ospf neighbor json":               `{"neighbors":{"10.0.0.2":[{"nbrState":"Full/-","ifaceName":"f0:10.254.0.1"}]}}`,
		"show ip ospf interface json":              `{"interfaces":{"f0":{"mtuBytes":1500}}}`,
		"show isis neighbor json":                  `{"areas":[{"area":"DC","circuits":[{"circuit":0,"adj":"far","interface":"f0","state":"Up"},{"circuit":0}]}]}`,
		"show isis summary json":                   `{"areas":[{"area":"DC","levels":[{"id":2,"minimum-interval":1}]}]}`,
		"show bgp summary json":                    `{"ipv6Unicast":{"peers":{"2001:db8:f::2":{"state":"Established"}}}}`,
		"show ipv6 route " + vm.String() + " json": `{"2001:db8:a::7/128":[{"protocol":"kernel","selected":true,"installed":true,"nexthops":[{"fib":true,"ip":"2001:db8:b::b","interfaceName":"h0","active":true}]}]}`,
	}
}

func everything() *Options { return &Options{Protocols: Protocols, ASN: 65001} }

func TestExamineFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	replace := func(command, old, text string) func(fakeFRR) {
		return func(f fakeFRR) { f[command] = strings.ReplaceAll(f[command], old, text) }
	}
	config := "show running-config"
	for _, c := range []struct {
		name     string
		change   func(fakeFRR)
		protocol int // of the kernel's route
		finding  string
		state    string
		text     string
	}{
		{name: "shadowed", protocol: 196, finding: "FRR sees the host routes", state: "failed", text: "protocol 196"},
		{name: "unseen", change: replace("show ipv6 route "+vm.String()+" json", "kernel", "ospf6"), finding: "FRR sees the host routes", state: "failed", text: "not in zebra"},
		{name: "shared next hops", change: replace(config, "no zebra nexthop kernel enable\n", ""), finding: "FRR keeps its routes", state: "warning", text: "no zebra nexthop kernel enable"},
		{name: "no router", change: replace(config, "router ospf6", "router rip"), finding: "ospf6: configured", state: "failed", text: "no router ospf6"},
		{name: "nothing redistributed", change: replace(config, " redistribute ipv4 kernel", " redistribute ipv4 static"), finding: "isis: redistribute ipv4 kernel", state: "failed", text: "is missing"},
		{name: "no route-map", change: replace(config, "redistribute kernel route-map DPMIP4\n timers", "redistribute kernel\n timers"), finding: "ospf: redistribute kernel", state: "warning", text: "no route-map"},
		{name: "route-map gone", change: replace(config, "route-map DPMIP4 permit", "route-map OTHER permit"), finding: "bgp: redistribute kernel", state: "ok"},
		{name: "route-map gone", change: replace(config, "route-map DPMIP4 permit", "route-map OTHER permit"), finding: "ospf: redistribute kernel", state: "failed", text: "DPMIP4 does not exist"},
		{name: "list gone", change: replace(config, "ipv6 prefix-list DPMIP-HOSTS6", "ipv6 prefix-list OTHER"), finding: "ospf6: redistribute kernel", state: "failed", text: "prefix-list DPMIP-HOSTS6 does not exist"},
		{name: "MTU", change: replace("show ipv6 ospf6 neighbor json", "Full", "ExStart"), finding: "ospf6: neighbours", state: "failed", text: "our MTU there is 1500"},
		{name: "MTU", change: replace("show ip ospf neighbor json", "Full/-", "Exchange/DR"), finding: "ospf: neighbours", state: "failed", text: "our MTU there is 1500"},
		{name: "alone", change: replace("show bgp summary json", "Established", "Active"), finding: "bgp: neighbours", state: "failed", text: "0 of 1 up"},
		{name: "half", change: func(f fakeFRR) {
			f["show ipv6 ospf6 neighbor json"] = `{"neighbors":[{"state":"Full"},{"state":"Init"}]}`
		}, finding: "ospf6: neighbours", state: "warning", text: "1 of 2 up"},
		{name: "slow", change: replace("show ipv6 ospf6 json", `Arrival`+`Msecs":0`, `ArrivalMsecs":1000`), finding: "ospf6: timers", state: "warning", text: "min-arrival 1000 ms"},
		{name: "interfaces", change: replace(config, "ip protocol isis route-map TOLD\n", ""), finding: "isis: interfaces", state: "warning", text: "ip protocol isis route-map"},
		{name: "interfaces", change: replace(config, "ipv6 protocol isis route-map TOLD\n", ""), finding: "isis: interfaces", state: "warning", text: "ipv6 protocol isis route-map"},
		{name: "interfaces", finding: "isis: interfaces", state: "ok"},
		{name: "slow", change: replace("show isis summary json", `interval":1`, `interval":30`), finding: "isis: timers", state: "warning", text: "lsp-gen-interval 30 s"},
	} {
		o := everything()
		o.Interfaces = []string{"h0"}
		f := good(o)
		if c.change != nil {
			c.change(f)
		}
		if c.protocol == 0 {
			c.protocol = 201
		}
		facts, err := Gather(t.Context(), f, o, []netip.Prefix{vm})
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, x := range Examine(o, facts, []Held{{vm, c.protocol}}) {
			found = found || x.Name == c.finding && x.State == c.state && strings.Contains(x.Found+x.Advice, c.text)
		}
		if !found {
			t.Errorf("%s: no finding %q %s: %q", c.name, c.finding, c.state, c.text)
		}
	}
}

func TestExamineIsContentWithWhatIsRight(t *testing.T) {
	t.Parallel()
	o := everything()
	facts, err := Gather(t.Context(), good(o), o, []netip.Prefix{vm})
	if err != nil {
		t.Fatal(err)
	}
	findings := Examine(o, facts, []Held{{vm, 201}})
	for _, x := range findings {
		if x.State != "ok" {
			t.Errorf("%+v", x)
		}
	}
	if len(findings) != 14 {
		t.Errorf("%d findings, want 14", len(findings))
	}
}

func TestInstalledAsksZebra(t *testing.T) {
	t.Parallel()
	f := good(everything())
	if ok, err := Installed(t.Context(), f, vm); err != nil || !ok {
		t.Errorf("Installed = %v, %v", ok, err)
	}
	rs, err := Routes(t.Context(), f, vm)
	if err != nil || len(rs) != 1 || rs[0].NextHops[0].Gateway != netip.MustParseAddr("2001:db8:b::b") {
		t.Errorf("Routes = %+v, %v", rs, err)
	}
	other := netip.MustParsePrefix("10.9.0.1/32")
	f["show ip route 10.9.0.1/32 json"] = "{}"
	if ok, err := Installed(t.Context(), f, other); err != nil || ok {
		t.Errorf("Installed(%s) = %v, %v", other, ok, err)
	}
	f["show ip route 10.9.0.1/32 json"] = `{"10.9.0.1/32":7}`
	if _, err := Installed(t.Context(), f, other); err == nil {
		t.Error("an answer of another shape was taken")
	}
}

// script makes a vtysh that does this.
func script(t *testing.T, body string) VTYSH {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vtysh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return VTYSH{Path: path, Socket: "/run/x"}
}

func TestVTYSH(t *testing.T) {
	t.Parallel()
	out, err := script(t, `echo "$@"`).Show(t.Context(), "show x")
	if want := "--vty_socket /run/x -c show x\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
	if _, err := script(t, "echo 'failed to connect to any daemons.' >&2; exit 1").Show(t.Context(), "show x"); !errors.Is(err, ErrNoFRR) || !strings.Contains(err.Error(), "any daemons") {
		t.Errorf("err = %v, want ErrNoFRR with the text", err)
	}
	if out, err := script(t, "echo 'isisd is not running' >&2; exit 1").Show(t.Context(), "show x"); err != nil || !strings.Contains(string(out), "isisd") {
		t.Errorf("%q, %v, want the text", out, err)
	}
}

// TestFragmentOfInterfaces: one clause for each interface, and each has the
// prefix list too.
func TestFragmentOfInterfaces(t *testing.T) {
	t.Parallel()
	o := &Options{Protocols: []Protocol{OSPF2}, Ranges: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}, Interfaces: []string{"h0", "h1"}}
	want := `no zebra nexthop kernel enable
ip prefix-list DPMIP-HOSTS4 seq 5 permit 10.9.0.0/16 ge 32
route-map DPMIP4 permit 10
 match ip address prefix-list DPMIP-HOSTS4
 match interface h0
exit
route-map DPMIP4 permit 11
 match ip address prefix-list DPMIP-HOSTS4
 match interface h1
exit
router ospf
 redistribute kernel route-map DPMIP4
 timers throttle spf 0 50 500
 timers throttle lsa all 0
 timers lsa min-arrival 0
exit
`
	if diff := cmp.Diff(want, o.Fragment()); diff != "" {
		t.Errorf("Fragment (-want +got):\n%s", diff)
	}
}

func TestFragmentHoldsWhatWasAsked(t *testing.T) {
	t.Parallel()
	o := &Options{Protocols: []Protocol{OSPF3, BGP}, ASN: 65001, Metric: 7,
		Ranges: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48"), netip.MustParsePrefix("2001:db8:b::1/128")}}
	want := `no zebra nexthop kernel enable
ipv6 prefix-list DPMIP-HOSTS6 seq 5 permit 2001:db8:a::/48 ge 128
ipv6 prefix-list DPMIP-HOSTS6 seq 10 permit 2001:db8:b::1/128
route-map DPMIP6 permit 10
 match ipv6 address prefix-list DPMIP-HOSTS6
 set metric 7
exit
ip prefix-list DPMIP-HOSTS4 seq 5 permit 0.0.0.0/0 ge 32
route-map DPMIP4 permit 10
 match ip address prefix-list DPMIP-HOSTS4
 set metric 7
exit
router ospf6
 redistribute kernel route-map DPMIP6
 timers throttle spf 0 50 500
 timers lsa min-arrival 0
exit
router bgp 65001
 address-family ipv6 unicast
  redistribute kernel route-map DPMIP6
 exit-address-family
 address-family ipv4 unicast
  redistribute kernel route-map DPMIP4
 exit-address-family
exit
`
	if diff := cmp.Diff(want, o.Fragment()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]*Options{"protocols: is empty": {}, "asn: is missing": {Protocols: []Protocol{BGP}}} {
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check = %v, want %q", err, want)
		}
	}
	for _, p := range Protocols {
		if got, err := ParseProtocol(p.String()); err != nil || got != p {
			t.Errorf("%s: %v, %v", p, got, err)
		}
	}
	if p, err := ParseProtocol("rip"); err == nil {
		t.Errorf("rip read as %v", p)
	}
}
