package bird_test

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/peers/bird"
	"github.com/dpmip/dpmip/testbed/peers/rig"
	"github.com/dpmip/dpmip/testbed/programs"
)

var program = flag.String("router", "", "the dpmip-router to test; empty: build it")

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bird:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if _, err := netns.Sweep("", "bird-"); err != nil {
		return 0, err
	}
	if *program != "" {
		return m.Run(), nil
	}
	dir, err := programs.Build("bird", "dpmip-router")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	*program = filepath.Join(dir, "dpmip-router")
	return m.Run(), nil
}

// providerRoles is a border router towards a provider: it is told of host
// routes that it must not give on, and nothing of it is believed. docs/fabric.md
// shows it.
const providerRoles = `[bgp]
asn         = 65001
router_id   = "10.0.0.1"
listen      = ["2001:db8:f::1"]
site        = "dc1"
locators    = ["2001:db8:b::/48"]
ranges      = ["2001:db8:a::/48"]
communities = ["65000:5436"]

[[bgp.peers]]
name          = "provider"
address       = "2001:db8:f::2"
asn           = 64999
announce      = "arrived"
no_export     = true
accept        = false
connect_retry = "1s"
`

// providerConfig is the provider's BIRD.
const providerConfig = `router id 10.0.0.2;
protocol device { }
protocol kernel { ipv6 { export all; }; }
protocol static { ipv6; route 2001:db8:a::99/128 unreachable { bgp_community.add((65000,5436)); }; route ::/0 unreachable; }
protocol bgp dc1 {
	local 2001:db8:f::2 as 64999;
	neighbor 2001:db8:f::1 as 65001;
	connect delay time 1;
	error wait time 1, 5;
	ipv6 { import all; export all; };
}
protocol bgp customer {
	local 2001:db8:99::1 as 64999;
	neighbor 2001:db8:99::2 as 65003;
	connect delay time 1;
	error wait time 1, 5;
	ipv6 { import all; export all; };
}
`

// customerConfig is another customer of the provider: a third site.
const customerConfig = `router id 10.0.0.3;
protocol device { }
protocol kernel { ipv6 { export all; }; }
protocol bgp provider {
	local 2001:db8:99::2 as 65003;
	neighbor 2001:db8:99::1 as 64999;
	connect delay time 1;
	error wait time 1, 5;
	ipv6 { import all; export none; };
}
`

// TestProviderLearnsAndKeepsForItself: the provider routes to the VM, a third
// site hears nothing of it, and nothing of the provider is believed.
func TestProviderLearnsAndKeepsForItself(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := must(rig.Open("bird"))(t)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	check(t, netns.Veth(netns.End{NS: w.Far, Name: "x0"}, netns.End{NS: w.HV, Name: "x0"}, 0))
	check(t, w.Far.AddAddr("x0", netip.MustParsePrefix("2001:db8:99::1/64")))
	check(t, w.HV.AddAddr("x0", netip.MustParsePrefix("2001:db8:99::2/64")))
	provider := must(bird.New(w.Far, filepath.Join(w.Set.Dir(), "provider"), providerConfig))(t)
	customer := must(bird.New(w.HV, filepath.Join(w.Set.Dir(), "customer"), customerConfig))(t)
	check(t, provider.Start())
	check(t, customer.Start())
	seen := must(rig.Observe(w.Far))(t)
	defer seen.Close()
	third := must(rig.Observe(w.HV))(t)
	defer third.Close()
	own := must(rig.Observe(w.TOR))(t)
	defer own.Close()
	d := must(w.StartRouter(*program, "", providerRoles))(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("dpmip-router:\n%s\nprovider:\n%s", d.Log(), provider.Log())
		}
	})
	m := must(w.Manage())(t)
	defer m.Close()

	a := rig.VM6(0)
	st := must(m.Routes(ctx, "vm0", 2, time.Hour, a))(t)
	if st != mobility.StatusAccepted {
		t.Fatalf("status %v", st)
	}
	must(seen.Await(ctx, a, true))(t)
	text := must(provider.Route(netip.PrefixFrom(a, 128)))(t)
	for _, want := range []string{"BGP.origin: IGP", "BGP.as_path: 65001", "(65000,5436)", "(65535,65281)", "BGP.next_hop: 2001:db8:f::1"} {
		if !strings.Contains(text, want) {
			t.Errorf("the provider's route lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "4294967295") {
		t.Errorf("a mark of the inside has got out:\n%s", text)
	}
	open := netip.MustParseAddr("2001:db8:a::99") // given on: the third site hears of other routes
	must(third.Await(ctx, open, true))(t)
	if text := must(customer.Route(netip.PrefixFrom(a, 128)))(t); text != "" || third.Protocol(a) != 0 {
		t.Errorf("a third site has heard of %s:\n%s", a, text)
	}
	refused(ctx, t, d, open.String()+"/128", "not configured to be listened to")
	refused(ctx, t, d, "::/0", "not configured to be listened to")
	if own.Protocol(open) != 0 {
		t.Errorf("%s of the provider was believed", open)
	}
	check(t, provider.Kill())
	must(m.Routes(ctx, "vm0", 3, 0, a))(t) // withdrawn while the provider is away
	check(t, provider.Start())
	must(seen.Await(ctx, a, false))(t)
}

func refused(ctx context.Context, t *testing.T, d *rig.Daemon, prefix, reason string) {
	t.Helper()
	for {
		r, err := d.ListExchanged(ctx, connect.NewRequest(&v1.ListExchangedRequest{Direction: "in", Prefix: prefix}))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range r.Msg.Routes {
			if x.State == "refused" && strings.Contains(x.Reason, reason) {
				return
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: %v, want refused: %s", prefix, r.Msg.Routes, reason)
		}
	}
}

// must ends the test on an error: must(f())(t).
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
