package bind_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/testbed/peers/bind"
)

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// wantFailure wants an error that holds a failure of the kind and this text.
func wantFailure(t *testing.T, err error, k dnsupdate.FailureKind, text string) {
	t.Helper()
	var f *dnsupdate.Failure
	if !errors.As(err, &f) || f.Kind != k || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want a failure %s that says %q", err, k, text)
	}
}

// TestRefusedKeys sends one message with keys that the server must not take.
func TestRefusedKeys(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	c := p.client()
	defer c.Close()
	updates, err := dnsupdate.Plan(nameOnly(), []string{forward})
	if err != nil {
		t.Fatal(err)
	}
	foreign := nameOnly()
	foreign.Services.Names[0].Name = "db.dc1.example"
	others, err := dnsupdate.Plan(foreign, []string{forward})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		key    *bind.Key
		update dnsupdate.Update
		kind   dnsupdate.FailureKind
		text   string
	}{
		{"unsigned", nil, updates[0], dnsupdate.FailureRefused, "REFUSED: the server wants signed updates"},
		{"unknown", ptr(bind.NewKey("nobody.", "hmac-sha256")), updates[0], dnsupdate.FailureKey, "with key nobody.: NOTAUTH (BADKEY)"},
		{"wrong secret", ptr(bind.NewKey("mgmt.", "hmac-sha512")), updates[0], dnsupdate.FailureKey, "with key mgmt.: NOTAUTH (BADSIG)"},
		{"another VM's name", &p.vm, others[0], dnsupdate.FailureRefused, "REFUSED: the server's policy forbids it"},
	}
	for _, tt := range tests {
		var key *dnsupdate.Key
		if tt.key != nil {
			key = &load(t, *tt.key)[0]
		}
		wantFailure(t, c.Write(t.Context(), primaryPort, key, tt.update, nil), tt.kind, tt.text)
		if t.Failed() {
			t.Fatal(tt.name)
		}
	}
	mgmt := load(t, p.mgmt)[0]
	elsewhere := updates[0]
	elsewhere.Zone = "dc2.example."
	wantFailure(t, c.Write(t.Context(), primaryPort, &mgmt, elsewhere, nil), dnsupdate.FailureNotAuth, "NOTAUTH: the server is not a primary of the zone")
	if err := c.Write(t.Context(), primaryPort, &load(t, p.vm)[0], updates[0], nil); err != nil {
		t.Errorf("the VM's own key, its own name: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

// TestMissingReverseZone: nobody here has the reverse zone of an IPv6 address.
// All the rest is written and proved, and the job says what is not.
func TestMissingReverseZone(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	known := slices.DeleteFunc(zones(t, p.mgmt), func(z dnsupdate.Zone) bool { return strings.HasSuffix(z.Name, "ip6.arpa.") })
	h := p.host(t, p.client(), known, fast)
	s := www()
	h.submit(t, s)
	j := h.settle(t, s.Version)
	wantFailure(t, j.Err(), dnsupdate.FailureConfig, "no zone for "+ip6("1"))
	for _, z := range j.Zones {
		if want := map[bool]dnsupdate.Phase{true: dnsupdate.PhaseFailed, false: dnsupdate.PhaseProved}[strings.HasSuffix(z.Update.Zone, "ip6.arpa.")]; z.Phase != want {
			t.Errorf("zone %s is %s, want %s", z.Update.Zone, z.Phase, want)
		}
	}
	got := holds(j, "127.0.0.2:53")
	for _, name := range []string{"www.dc1.example. A", "www.dc1.example. AAAA", "1.0.0.10.in-addr.arpa. PTR"} {
		if len(got[name]) == 0 {
			t.Errorf("the secondary has no %s", name)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	keys := []bind.Key{bind.NewKey("k256.", "hmac-sha256"), bind.NewKey("k384.", "hmac-sha384"), bind.NewKey("k512.", "hmac-sha512")}
	p := start(t, func(c *bind.Config) {
		c.Keys = append(c.Keys, keys...)
		for _, k := range keys {
			c.Zones[0].Policy = append(c.Zones[0].Policy, k.Name+" zonesub A AAAA TXT")
		}
	})
	s := nameOnly()
	for _, k := range keys {
		s.Version.Step++
		p.host(t, p.client(), zones(t, k), fast).publish(t, s)
	}
}

// TestKeyRolled changes the key at the server while the node has both, then
// while it has the old one only.
func TestKeyRolled(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	next := bind.NewKey("mgmt-2.", "hmac-sha256")
	both := p.host(t, p.client(), zones(t, p.mgmt, next), fast)
	one := p.host(t, p.client(), zones(t, p.mgmt), fast)
	s := www()
	both.publish(t, s)
	rolled := p.config
	rolled.Keys = []bind.Key{next, p.vm}
	rolled.Zones = slices.Clone(rolled.Zones)
	for i := range rolled.Zones {
		rolled.Zones[i].Policy = []string{next.Name + " zonesub A AAAA SRV TXT PTR"}
	}
	if err := p.primary.Configure(rolled); err != nil {
		t.Fatal(err)
	}
	if err := p.primary.Reload(); err != nil {
		t.Fatal(err)
	}
	s = s.Moved(2, addrList("10.0.0.2")...)
	both.publish(t, s)
	s = s.Moved(3, addrList("10.0.0.3")...)
	one.submit(t, s)
	f := one.failure(t, dnsupdate.FailureKey)
	if f.Key != p.mgmt.Name {
		t.Errorf("the failure names key %q", f.Key)
	}
	one.zones.Replace(zones(t, next)) // the operator brings the new key
	if err := one.settle(t, s.Version).Err(); err != nil {
		t.Error(err)
	}
}

// TestClockOff: a clock that is ten minutes off is named, with the side, and when
// it is right again the job goes on by itself.
func TestClockOff(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	for _, off := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		c := p.client()
		var wrong atomic.Bool
		wrong.Store(true)
		c.Now = func() time.Time {
			if wrong.Load() {
				return time.Now().Add(off)
			}
			return time.Now()
		}
		h := p.host(t, c, zones(t, p.mgmt), fast)
		s := nameOnly()
		h.submit(t, s)
		f := h.failure(t, dnsupdate.FailureClock)
		side := map[bool]string{true: "behind", false: "ahead of"}[off < 0]
		if !strings.Contains(f.Error(), "NOTAUTH (BADTIME): our clock is ") || !strings.Contains(f.Error(), side) {
			t.Errorf("off by %v: %v", off, f)
		}
		if d := (f.Skew + off).Abs(); d > time.Minute {
			t.Errorf("off by %v: reported %v", off, f.Skew)
		}
		wrong.Store(false)
		if err := h.settle(t, s.Version).Err(); err != nil {
			t.Errorf("off by %v, and right again: %v", off, err)
		}
	}
}

func TestNamedDownAndBack(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	h := p.host(t, p.client(), zones(t, p.mgmt), fast)
	s := www()
	h.publish(t, s) // leaves idle connections that break
	if err := p.primary.Kill(); err != nil {
		t.Fatal(err)
	}
	s = s.Moved(2, addrList("10.0.0.2")...)
	h.submit(t, s)
	h.failure(t, dnsupdate.FailureUnreachable)
	if err := p.primary.Start(); err != nil {
		t.Fatal(err)
	}
	if err := h.settle(t, s.Version).Err(); err != nil {
		t.Error(err)
	}
}

// TestSecondServer has a first server that nobody listens at.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	list := zones(t, p.mgmt)
	for i := range list {
		list[i].Servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5353"), primaryPort}
	}
	h := p.host(t, p.client(), list, fast)
	s := www()
	h.submit(t, s)
	h.until(t, "published everywhere", func(j dnsupdate.Job) bool {
		return !slices.ContainsFunc(j.Zones, func(z dnsupdate.ZoneJob) bool { return !z.Written })
	})
}

// TestSecondaryStuck: a missing proof is said, and does not hang; the proof
// comes when the secondary comes back.
func TestSecondaryStuck(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	timing := fast
	timing.Proof = 300 * time.Millisecond
	h := p.host(t, p.client(), zones(t, p.mgmt), timing)
	s := nameOnly()
	h.publish(t, s)
	if err := p.secondary.Freeze(); err != nil {
		t.Fatal(err)
	}
	s = s.Moved(2, addrList("10.0.0.2")...)
	h.submit(t, s)
	f := h.failure(t, dnsupdate.FailureProof)
	if !strings.Contains(f.Detail, "not seen at 127.0.0.2:53: no answer") || strings.Contains(f.Detail, "127.0.0.1") {
		t.Errorf("failure %q, want the secondary alone", f.Detail)
	}
	if err := p.secondary.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := h.settle(t, s.Version).Err(); err != nil {
		t.Error(err)
	}
}

// TestTransferRefused: the secondary answers, with the old serial.
func TestTransferRefused(t *testing.T) {
	t.Parallel()
	p := start(t, func(c *bind.Config) { c.Zones[1].Transfer = false })
	timing := fast
	timing.Proof, timing.ProofLimit = 300*time.Millisecond, 500*time.Millisecond
	h := p.host(t, p.client(), zones(t, p.mgmt), timing)
	s := www()
	h.submit(t, s)
	j := h.settle(t, s.Version)
	for _, z := range j.Zones {
		want := dnsupdate.PhaseProved
		if z.Update.Zone == reverse4 {
			want = dnsupdate.PhaseUnproved
		}
		if z.Phase != want || z.PublishedAt.IsZero() {
			t.Errorf("zone %s is %s, want %s and published", z.Update.Zone, z.Phase, want)
		}
	}
	wantFailure(t, j.Err(), dnsupdate.FailureProof, "not seen at 127.0.0.2:53")
}

// TestServersBySOA configures names and keys alone.
func TestServersBySOA(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	list := zones(t, p.mgmt)
	for i := range list {
		list[i].Servers, list[i].Secondaries = nil, nil
	}
	h := p.host(t, p.client(), list, fast)
	j := h.publish(t, www())
	for _, z := range j.Zones {
		if len(z.Proofs) != 1 || z.Proofs[0].Server != primaryPort {
			t.Errorf("zone %s was proved at %v, want %v", z.Update.Zone, z.Proofs, primaryPort)
		}
	}
}
