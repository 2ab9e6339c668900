package bind_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/mobility"
)

func TestStaleEpochLoses(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	a, b := p.host(t, p.client(), zones(t, p.mgmt), fast), p.host(t, p.client(), zones(t, p.mgmt), fast)
	old := www().Moved(2, addrList("10.0.0.2")...)
	fresh := old.Moved(3, addrList("10.0.0.3")...)
	b.publish(t, fresh)
	a.submit(t, old)
	j := a.settle(t, old.Version)
	if err := j.Err(); !errors.Is(err, dnsupdate.ErrStale) {
		t.Errorf("the late update ended with %v, want ErrStale", err)
	}
	for _, z := range j.Zones {
		if z.Written || z.Phase != dnsupdate.PhaseStale {
			t.Errorf("zone %s: %s, written %v; want stale, nothing written", z.Update.Zone, z.Phase, z.Written)
		}
	}
	// The same state again is found there, not written.
	j = a.publish(t, fresh)
	if got, want := holds(j, "127.0.0.2:53")["www.dc1.example. A"], []string{"10.0.0.3"}; !cmp.Equal(got, want) {
		t.Errorf("the secondary has %v, want %v", got, want)
	}
	if j.Zones[0].Written {
		t.Error("an update that was there already was written again")
	}
}

// TestConcurrentHosts lets two hosts publish at once, over and over: whatever the
// interleaving, the newer epoch stands at the end.
func TestConcurrentHosts(t *testing.T) {
	t.Parallel()
	const rounds = 60
	p := start(t, nil)
	a, b := p.host(t, p.client(), zones(t, p.mgmt), fast), p.host(t, p.client(), zones(t, p.mgmt), fast)
	look := p.host(t, p.client(), zones(t, p.mgmt), fast)
	state := nameOnly()
	outcome := map[dnsupdate.Phase]int{}
	for i := range mobility.Epoch(rounds) {
		states := [2]dnsupdate.State{
			state.Moved(2*i+2, addrList(fmt.Sprintf("10.0.1.%d", i))...),
			state.Moved(2*i+3, addrList(fmt.Sprintf("10.0.2.%d", i))...),
		}
		var wg sync.WaitGroup
		var jobs [2]dnsupdate.Job
		for k, h := range []*host{a, b} {
			wg.Go(func() {
				h.submit(t, states[k])
				jobs[k] = h.until(t, "published or stale", func(j dnsupdate.Job) bool {
					return j.Version == states[k].Version && (j.Final() || j.Zones[0].Written)
				})
			})
		}
		wg.Wait()
		outcome[jobs[0].Zones[0].Phase]++
		if jobs[1].Zones[0].Phase == dnsupdate.PhaseStale {
			t.Fatalf("round %d: the newer epoch is stale: %v", i, jobs[1].Err())
		}
		state = states[1]
		j := look.publish(t, state)
		if got, want := holds(j, "127.0.0.1:53")["www.dc1.example. A"], []string{fmt.Sprintf("10.0.2.%d", i)}; !cmp.Equal(got, want) || j.Zones[0].Written {
			t.Fatalf("round %d: the primary has %v (written by the onlooker: %v), want %v", i, got, j.Zones[0].Written, want)
		}
	}
	t.Logf("the older host ended: %v", outcome)
}

// TestUnmetPrerequisite takes the message that a host built from what it had
// read, and sends it after another host's.
func TestUnmetPrerequisite(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	c := p.client()
	defer c.Close()
	h := p.host(t, c, zones(t, p.mgmt), fast)
	s := nameOnly()
	h.publish(t, s)
	key := load(t, p.mgmt)[0]
	late, err := dnsupdate.Plan(s.Moved(2, addrList("10.0.0.2")...), []string{forward})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := c.Read(t.Context(), primaryPort, &key, late[0])
	if err != nil {
		t.Fatal(err)
	}
	h.publish(t, s.Moved(3, addrList("10.0.0.3")...))
	err = c.Write(t.Context(), primaryPort, &key, late[0], stored)
	wantFailure(t, err, dnsupdate.FailurePrerequisite, "NXRRSET")
	err = c.Write(t.Context(), primaryPort, &key, late[0], dnsupdate.Stored{})
	wantFailure(t, err, dnsupdate.FailurePrerequisite, "YXRRSET")
}

func TestForeignName(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	h := p.host(t, p.client(), zones(t, p.mgmt), fast)
	s := nameOnly()
	h.publish(t, s)
	other := s
	other.VM, other.Published = mobility.NAI("vm2@dc1.example"), addrList("10.0.0.9")
	h.submit(t, other)
	f := h.failure(t, dnsupdate.FailureForeign)
	if !errors.Is(f, dnsupdate.ErrForeign) {
		t.Errorf("failure %v does not match ErrForeign", f)
	}
	// Once the first has gone, the name is free, and the job waiting gets it.
	h.submit(t, s.Removed())
	seen := map[mobility.VMID]bool{}
	h.until(t, "both proved", func(j dnsupdate.Job) bool {
		if j.Final() && j.Err() == nil {
			seen[j.VM] = true
		}
		return len(seen) == 2
	})
}

func TestSharedName(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	h := p.host(t, p.client(), zones(t, p.mgmt), fast)
	one := nameOnly()
	one.Services.Names[0].Shared = true
	two := one
	two.VM, two.Published = mobility.NAI("vm2@dc1.example"), addrList("10.0.0.9")
	h.publish(t, one)
	h.publish(t, two)
	j := h.publish(t, one.Moved(2, addrList("10.0.0.2")...))
	got := holds(j, "127.0.0.1:53")["www.dc1.example. A"]
	if d := cmp.Diff([]string{"10.0.0.2", "10.0.0.9"}, sorted(got)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestHotStandby(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	h := p.host(t, p.client(), zones(t, p.mgmt), fast)
	s := www().Moved(2, addrList("10.0.0.1", "10.0.0.2")...)
	j := h.publish(t, s)
	if d := cmp.Diff([]string{"10.0.0.1", "10.0.0.2"}, sorted(holds(j, "127.0.0.2:53")["www.dc1.example. A"])); d != "" {
		t.Errorf("both serve (-want +got):\n%s", d)
	}
	s = s.Withdraw(addrList("10.0.0.1")...)
	j = h.publish(t, s)
	want := map[string][]string{
		"www.dc1.example. A": {"10.0.0.2"}, "www.dc1.example. AAAA": nil,
		"_http._tcp.dc1.example. SRV": {"0 0 80 www.dc1.example."},
		"1.0.0.10.in-addr.arpa. PTR":  nil, "2.0.0.10.in-addr.arpa. PTR": {"www.dc1.example."},
		ip6("1") + " PTR": nil,
	}
	if d := cmp.Diff(want, holds(j, "127.0.0.2:53")); d != "" {
		t.Errorf("one has failed (-want +got):\n%s", d)
	}
}

// TestTakeover carries a job, as JSON, from a host that dies while the server is
// down to another one.
func TestTakeover(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	a, b := p.host(t, p.client(), zones(t, p.mgmt), fast), p.host(t, p.client(), zones(t, p.mgmt), fast)
	if err := p.primary.Kill(); err != nil {
		t.Fatal(err)
	}
	s := www()
	a.submit(t, s)
	a.failure(t, dnsupdate.FailureUnreachable)
	jobs, err := a.Jobs(t.Context())
	if err != nil || len(jobs) != 1 {
		t.Fatalf("Jobs = %d, %v; want the one", len(jobs), err)
	}
	text, err := json.Marshal(jobs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := p.primary.Start(); err != nil {
		t.Fatal(err)
	}
	var j dnsupdate.Job
	if err := json.Unmarshal(text, &j); err != nil {
		t.Fatal(err)
	}
	if err := b.Submit(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*host{b, a} { // the first one may go on: no harm
		if err := h.settle(t, s.Version).Err(); err != nil {
			t.Error(err)
		}
	}
}

func TestGiveUp(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	h := p.host(t, p.client(), zones(t, p.mgmt), fast)
	if err := p.primary.Stop(); err != nil {
		t.Fatal(err)
	}
	j, err := h.Plan(nameOnly(), time.Now().Add(300*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Submit(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, h.settle(t, j.Version).Err(), dnsupdate.FailureUnreachable, "connection refused")
}
