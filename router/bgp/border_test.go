package bgp

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dpmip/dpmip/router"
)

// fakeSpeaker notes what it is told.
type fakeSpeaker struct {
	mu    sync.Mutex // guards the fields below
	given map[netip.Prefix]Announcement
	calls int
	ended bool
	lacks []netip.Addr // to listen on
}

func (f *fakeSpeaker) Start(context.Context, Events) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.lacks) > 0 {
		return &MissingError{f.lacks}
	}
	return nil
}
func (f *fakeSpeaker) Announce(as []Announcement) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	for _, a := range as {
		f.given[a.Prefix] = a
	}
	return nil
}
func (f *fakeSpeaker) Withdraw(ps []netip.Prefix) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	for _, p := range ps {
		delete(f.given, p)
	}
	return nil
}
func (f *fakeSpeaker) Sessions(context.Context) ([]Session, error) {
	return []Session{{Peer: config().Peers[0], State: Established}}, nil
}
func (f *fakeSpeaker) Stop(context.Context, bool) error {
	f.ended = true
	return nil
}

// fakeFIB holds routes in memory.
type fakeFIB struct {
	mu     sync.Mutex // guards the fields below
	kernel map[netip.Addr]netip.Addr
	left   []netip.Addr
}

func (f *fakeFIB) Apply(chs []router.Change) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range chs {
		if c.Locator.IsValid() {
			f.kernel[c.Address] = c.Locator
		} else {
			delete(f.kernel, c.Address)
		}
	}
	return make([]error, len(chs))
}

// held is what the kernel holds at the moment.
func (f *fakeFIB) held() map[netip.Addr]netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.kernel)
}
func (f *fakeFIB) Refresh() ([]router.Moved, error) { return nil, nil }
func (f *fakeFIB) Leftovers() ([]netip.Addr, error) { return f.left, nil }

// border runs a Border in a bubble until the test ends.
func border(t *testing.T, cfg *Config, body func(context.Context, *Border, *fakeSpeaker, *fakeFIB)) {
	synctest.Test(t, func(t *testing.T) {
		s, f := &fakeSpeaker{given: map[netip.Prefix]Announcement{}}, &fakeFIB{kernel: map[netip.Addr]netip.Addr{}}
		f.left = []netip.Addr{addr("2001:db8:a::99"), addr("10.9.0.99")}
		for _, a := range f.left {
			f.kernel[a] = addr("2001:db8:f::2")
		}
		b := NewBorder(cfg, s, f, slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()), time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		<-b.Ready()
		body(ctx, b, s, f)
		cancel()
		if err := <-done; err != nil || !s.ended {
			t.Errorf("Run = %v, speaker stopped: %v", err, s.ended)
		}
	})
}

func TestRoutesAreAnnouncedAndTakenBack(t *testing.T) {
	border(t, config(), func(ctx context.Context, b *Border, s *fakeSpeaker, f *fakeFIB) {
		r := router.Route{Address: addr("2001:db8:a::7"), Locator: addr("2001:db8:1::b"), Since: now}
		p := netip.PrefixFrom(r.Address, 128)
		b.Held([]router.Route{r})
		synctest.Wait()
		if a := s.given[p]; !cmp.Equal(a.To, []string{"dc2", "provider"}) {
			t.Errorf("given %+v", s.given)
		}
		calls := s.calls
		b.Held([]router.Route{r}) // a refresh: nothing new
		synctest.Wait()
		if s.calls != calls {
			t.Error("a route that has not changed was announced again")
		}
		lost := r
		lost.Err = "no way"
		b.Held([]router.Route{lost})
		synctest.Wait()
		if len(s.given) != 0 {
			t.Errorf("not in the kernel, but still given: %+v", s.given)
		}
		given, err := b.Given(ctx)
		if err != nil || len(given) != 1 || !errors.Is(given[0].Withheld, ErrNotInKernel) {
			t.Errorf("Given = %+v, %v", given, err)
		}
		b.Held([]router.Route{r})
		b.Gone([]netip.Addr{r.Address})
		synctest.Wait()
		if given, _ := b.Given(ctx); len(s.given) != 0 || len(given) != 0 {
			t.Errorf("gone, but given: %+v, %+v", s.given, given)
		}
	})
}

// gauge reads a metric without labels.
func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestAddressToListenOnComesLate: the border router waits, answers meanwhile, and
// announces what there is to announce when the address has come.
func TestAddressToListenOnComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := &fakeSpeaker{given: map[netip.Prefix]Announcement{}, lacks: []netip.Addr{addr("2001:db8:f::1")}}, &fakeFIB{kernel: map[netip.Addr]netip.Addr{}}
		f.left = []netip.Addr{addr("10.9.0.99")}
		f.kernel[f.left[0]] = addr("2001:db8:f::2")
		reg := prometheus.NewRegistry()
		m := NewMetrics(reg)
		b := NewBorder(config(), s, f, slog.New(slog.DiscardHandler), m, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		<-b.Ready()
		stays, goes := router.Route{Address: addr("2001:db8:a::7"), Locator: addr("2001:db8:1::b"), Since: now}, router.Route{Address: addr("2001:db8:a::8"), Locator: addr("2001:db8:1::b"), Since: now}
		b.Held([]router.Route{stays, goes})
		b.Gone([]netip.Addr{goes.Address})
		time.Sleep(2 * b.cfg.restartTime()) // the bubble's clock
		synctest.Wait()
		if given, err := b.Given(ctx); err != nil || len(given) != 1 || s.calls != 0 {
			t.Errorf("while it waits: %+v, %v, %d calls of the speaker", given, err, s.calls)
		}
		if got := gauge(t, reg, "dpmip_bgp_listen_missing"); got != 1 {
			t.Errorf("listen_missing %v, want 1", got)
		}
		if len(f.held()) != 1 {
			t.Error("what an earlier process left went before any peer could speak")
		}
		s.mu.Lock()
		s.lacks = nil
		s.mu.Unlock()
		time.Sleep(2 * listenRetry)
		synctest.Wait()
		if _, ok := s.given[netip.PrefixFrom(stays.Address, 128)]; !ok || len(s.given) != 1 {
			t.Errorf("given %+v, want %s alone", s.given, stays.Address)
		}
		if got := gauge(t, reg, "dpmip_bgp_listen_missing"); got != 0 {
			t.Errorf("listen_missing %v, want 0", got)
		}
		time.Sleep(b.cfg.restartTime())
		synctest.Wait()
		if left := f.held(); len(left) != 0 {
			t.Errorf("left over: %v", left)
		}
		cancel()
		if err := <-done; err != nil || !s.ended {
			t.Errorf("Run = %v, speaker stopped: %v", err, s.ended)
		}
	})
}

func TestImportsReachTheKernelAndLeftoversGo(t *testing.T) {
	cfg := config()
	border(t, cfg, func(ctx context.Context, b *Border, s *fakeSpeaker, f *fakeFIB) {
		b.Updates([]Update{heard(nil), heard(func(u *Update) { u.Prefix, u.Tags = netip.MustParsePrefix("2001:db8:a::8/128"), Tags{} })})
		synctest.Wait()
		want := map[netip.Addr]netip.Addr{addr("2001:db8:a::7"): addr("2001:db8:f::2"), addr("2001:db8:a::99"): addr("2001:db8:f::2"), addr("10.9.0.99"): addr("2001:db8:f::2")}
		if diff := cmp.Diff(want, f.held(), addrs); diff != "" {
			t.Errorf("before End-of-RIB (-want +got):\n%s", diff)
		}
		ss, err := b.Sessions(ctx)
		if err != nil || ss[0].Accepted != 1 || ss[0].Refused != 1 {
			t.Errorf("sessions %+v, %v", ss, err)
		}
		b.EndOfRIB(addr("2001:db8:f::2"))
		synctest.Wait()
		if _, kept := f.held()[addr("2001:db8:a::99")]; !kept {
			t.Error("the leftover went before every peer had said all")
		}
		b.EndOfRIB(addr("2001:db8:f::3"))
		synctest.Wait()
		delete(want, addr("2001:db8:a::99"))
		if diff := cmp.Diff(want, f.held(), addrs); diff != "" {
			t.Errorf("after End-of-RIB of IPv6 (-want +got):\n%s", diff)
		}
		time.Sleep(cfg.restartTime()) // the bubble's clock; the IPv4 peer never speaks
		synctest.Wait()
		delete(want, addr("10.9.0.99"))
		if diff := cmp.Diff(want, f.held(), addrs); diff != "" {
			t.Errorf("after the restart time (-want +got):\n%s", diff)
		}
	})
}

func TestDiagnosis(t *testing.T) {
	t.Parallel()
	peer := Peer{Name: "dc2", Address: addr("2001:db8:f::2")}
	for _, c := range []struct {
		name  string
		s     Session
		grown MD5Failures
		want  string
	}{
		{"works", Session{State: Established, Down: "long ago"}, MD5Failures{Wrong: 5}, ""},
		{"other key", Session{State: "active", MD5: true}, MD5Failures{Wrong: 3}, "another one than ours: 3 segments"},
		{"unsigned", Session{State: "active", MD5: true}, MD5Failures{Missing: 2}, "does not sign with MD5"},
		{"signed", Session{State: "active"}, MD5Failures{Unexpected: 2}, "no password is configured here"},
		{"others' failures", Session{State: "active", Down: "hold timer expired"}, MD5Failures{Wrong: 2}, "hold timer expired"},
		{"just started", Session{State: "active", Since: now}, MD5Failures{}, ""},
		{"silent", Session{State: "active", Since: now.Add(-time.Minute)}, MD5Failures{}, "no answer from 2001:db8:f::2: it is away"},
		{"silent with a key", Session{State: "active", MD5: true, Since: now.Add(-time.Minute)}, MD5Failures{}, "or its MD5 key is another one"},
	} {
		c.s.Peer = peer
		got := diagnose(&c.s, c.grown, now)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMD5FailuresAreRead(t *testing.T) {
	t.Parallel()
	text := "TcpExt: A TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure B\nTcpExt: 9 1 2 3 9\nIpExt: X\nIpExt: 1\n"
	if got, err := ReadMD5Failures(strings.NewReader(text)); err != nil || got != (MD5Failures{1, 2, 3}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ReadMD5Failures(strings.NewReader("IpExt: A\nIpExt: 1\n")); err == nil {
		t.Error("counters were found where there are none")
	}
}
