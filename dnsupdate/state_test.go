package dnsupdate

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, s := range texts {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

func example() State {
	return State{
		VM: mobility.NAI("vm1@example"), Version: Version{1, 1},
		Published: addrs("10.0.0.1", "2001:db8::1"),
		Services: Services{
			Names:   []Name{{Name: "WWW.example"}, {Name: "pool.example.", Shared: true, TTL: strictconf.Duration(time.Minute)}},
			SRV:     []SRV{{Name: "_http._tcp.example", Port: 80, Target: "www.example"}},
			Reverse: "www.example",
		},
	}
}

var exampleZones = []string{"example", "0.0.10.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa.", "www.example.org"}

// TestPlan shows the messages of a VM's life; testdata/life.txt is to be read.
func TestPlan(t *testing.T) {
	t.Parallel()
	s := example()
	s.Published = addrs("10.0.0.1")
	s.Services.SRV = nil
	steps := []struct {
		name string
		next func() State
	}{
		{"registered", func() State { return s }},
		{"PREPARE: TTL lowered", func() State { return s.LowerTTL(5 * time.Second) }},
		{"COMMIT: renumbered", func() State { return s.Moved(2, addrs("2001:db8::2")...) }},
		{"DRAIN: TTL restored", func() State { return s.RestoreTTL() }},
		{"quarantine over", func() State { return s.Forget(addrs("10.0.0.1")...) }},
		{"hot standby", func() State { return s.Moved(3, addrs("2001:db8::2", "10.0.0.3")...) }},
		{"one place failed", func() State { return s.Withdraw(addrs("10.0.0.3")...) }},
		{"gone", func() State { return s.Removed() }},
	}
	var b strings.Builder
	stored := Stored{}
	for _, step := range steps {
		s = step.next()
		fmt.Fprintf(&b, "== %s: version %v\n", step.name, s.Version)
		updates, err := Plan(s, exampleZones)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for _, u := range updates {
			if applied, err := u.Judge(stored); applied || err != nil {
				t.Errorf("%s: %s: Judge = %v, %v before it is sent", step.name, u.Zone, applied, err)
			}
			b.WriteString(script(t, u, stored))
			apply(u, stored)
			if applied, err := u.Judge(stored); !applied || err != nil {
				t.Errorf("%s: %s: Judge = %v, %v once it is there", step.name, u.Zone, applied, err)
			}
		}
	}
	golden(t, "life.txt", b.String())
	if len(stored) != 0 {
		t.Errorf("left when the VM is gone: %q", stored)
	}
}

// script is a message as text.
func script(t *testing.T, u Update, stored Stored) string {
	t.Helper()
	m, err := u.Message(stored)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Pack(); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "zone %s\n", m.Question[0].Name)
	for _, rr := range m.Answer {
		fmt.Fprintf(&b, "  if   %s\n", plain(rr))
	}
	for _, rr := range m.Ns {
		fmt.Fprintf(&b, "  then %s\n", plain(rr))
	}
	return b.String()
}

// plain is a record in one line, the constant parts of epoch records left out.
func plain(rr dns.RR) string {
	s := strings.ReplaceAll(strings.TrimSpace(rr.String()), "\t", " ")
	return strings.ReplaceAll(s, `"v=dpmip1" "vm=vm1@example" `, "")
}

// apply does to the epoch records what a server would.
func apply(u Update, stored Stored) {
	for _, it := range u.Items {
		owner := epochName(it.Name)
		delete(stored, owner)
		if !it.Purge {
			stored[owner] = [][]string{u.record(it).Text()}
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; -rewrite takes it over):\n%s", path, d)
	}
}

func TestStatesFollow(t *testing.T) {
	t.Parallel()
	a, b, c := addrs("10.0.0.1"), addrs("10.0.0.2"), addrs("10.0.0.3")
	s := State{VM: mobility.NAI("vm"), Version: Version{1, 1}, Published: a}
	s = s.Moved(2, b...)
	s = s.Moved(3, c...)
	home := s.Moved(4, a...)
	tests := []struct {
		name string
		got  State
		want State
	}{
		{"moved twice", s, State{Version: Version{3, 1}, Published: c, Withdrawn: append(a[:1:1], b...)}},
		{"home", home, State{Version: Version{4, 1}, Published: a, Withdrawn: append(b[:1:1], c...)}},
		{"forgot one", home.Forget(b...), State{Version: Version{4, 2}, Published: a, Withdrawn: c, Forgotten: b}},
		{"forgot all", home.Forget(b...).Forget(c...), State{Version: Version{4, 3}, Published: a, Forgotten: c}},
		{"lowered", home.LowerTTL(time.Second), State{Version: Version{4, 2}, Published: a, Withdrawn: append(b[:1:1], c...), TTL: strictconf.Duration(time.Second)}},
		{"removed", home.Removed(), State{Version: Version{4, 2}, Forgotten: append(append(b[:1:1], c...), a...), Final: true}},
	}
	for _, tt := range tests {
		tt.want.VM = s.VM
		if d := cmp.Diff(tt.want, tt.got, sameAddr, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestStateRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*State)
		want   string
	}{
		{"no VM", func(s *State) { s.VM = mobility.VMID{} }, "VM identifier"},
		{"no epoch", func(s *State) { s.Version.Epoch = 0 }, "has no epoch"},
		{"twice", func(s *State) { s.Withdrawn = s.Published }, "appears twice"},
		{"mapped", func(s *State) { s.Published = addrs("::ffff:10.0.0.1") }, "no address for the DNS"},
		{"multicast", func(s *State) { s.Published = addrs("ff02::1") }, "no address for the DNS"},
		{"final", func(s *State) { s.Final = true }, "still published"},
		{"half second", func(s *State) { s.TTL = strictconf.Duration(1500 * time.Millisecond) }, "whole seconds"},
		{"TTL too long", func(s *State) { s.Services.TTL = strictconf.Duration(maxTTL + time.Second) }, "whole seconds"},
		{"name twice", func(s *State) { s.Services.Names[1].Name = "www.EXAMPLE." }, "names[1]: www.example. appears twice"},
		{"no name", func(s *State) { s.Services.Names[0].Name = "" }, "names[0]: no name"},
		{"long name", func(s *State) { s.Services.Names[0].Name = strings.Repeat("a.", 122) }, "too long"},
		{"target", func(s *State) { s.Services.SRV[0].Target = "mail.example" }, "srv[0]: target"},
		{"names", func(s *State) { s.Services.Names = make([]Name, MaxNames+1) }, "33 names"},
	}
	for _, tt := range tests {
		s := example()
		tt.change(&s)
		if _, err := Plan(s, exampleZones); !errors.Is(err, ErrServices) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: err = %v, want ErrServices with %q", tt.name, err, tt.want)
		}
	}
	if _, err := Plan(example(), []string{"example.org"}); !errors.Is(err, ErrNoZone) {
		t.Errorf("no zone: err = %v", err)
	}
}

// TestPlanKnown: what lies in a zone is planned, although other names do not.
func TestPlanKnown(t *testing.T) {
	t.Parallel()
	updates, homeless, err := PlanKnown(example(), []string{"example", "0.0.10.in-addr.arpa"})
	if err != nil {
		t.Fatal(err)
	}
	var zones []string
	for _, u := range updates {
		zones = append(zones, u.Zone)
	}
	if d := cmp.Diff([]string{"0.0.10.in-addr.arpa.", "example."}, zones); d != "" {
		t.Errorf("zones (-want +got):\n%s", d)
	}
	if want := []string{reverseName(netip.MustParseAddr("2001:db8::1"))}; !slices.Equal(homeless, want) {
		t.Errorf("homeless %v, want %v", homeless, want)
	}
}

// TestLargest fills every bound and still fits one message.
func TestLargest(t *testing.T) {
	t.Parallel()
	s := State{VM: mobility.NAI(strings.Repeat("v", mobility.MaxIDLen)), Version: Version{1 << 31, 1}}
	for i := range mobility.MaxSlots {
		s.Published = append(s.Published, netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)))
	}
	for i := range mobility.MaxOldAddresses {
		s.Withdrawn = append(s.Withdrawn, netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", i+1)))
	}
	for i := range MaxNames {
		name := fmt.Sprintf("%sn%02d.example.", strings.Repeat("abcdefghi.", 20), i)
		s.Services.Names = append(s.Services.Names, Name{Name: name, Shared: true})
		s.Services.SRV = append(s.Services.SRV, SRV{Name: "_a._tcp." + name, Port: 1, Target: name})
	}
	s.Services.Reverse = s.Services.Names[0].Name
	updates, err := Plan(s, []string{"example.", "arpa."})
	if err != nil {
		t.Fatal(err)
	}
	stored := Stored{}
	for _, u := range updates {
		apply(u, stored)
	}
	for _, u := range updates {
		m, err := u.Message(stored)
		if err != nil {
			t.Fatal(err)
		}
		m.Compress = true
		b, err := m.Pack()
		if err != nil || len(b) > maxMessage-512 {
			t.Errorf("zone %s: %d bytes, %v", u.Zone, len(b), err)
		}
	}
}

func TestStateJSON(t *testing.T) {
	t.Parallel()
	s := example().Moved(2, addrs("10.0.0.2")...).LowerTTL(5 * time.Second)
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var got State
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, got, sameAddr, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestEpochRecord(t *testing.T) {
	t.Parallel()
	for _, r := range []EpochRecord{
		{mobility.NAI(`a"b\c@d`), Version{1, 2}, false},
		{mobility.VMID{Subtype: mobility.IDEUI48, Bytes: "\x00\x01\x02\x03\x04\x05"}, Version{1<<32 - 1, 0}, true},
	} {
		wire := make([]byte, 512)
		n, err := dns.PackRR(epochRR("x.", r.Text()), wire, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		rr, _, err := dns.UnpackRR(wire[:n], 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseEpochRecord(rr.(*dns.TXT).Txt)
		if err != nil || got != r {
			t.Errorf("%v became %v, %v", r, got, err)
		}
	}
	for _, text := range []string{
		"", "hello", "v=dpmip1 vm=a epoch=1", "v=dpmip2 vm=a epoch=1 step=1", "v=dpmip1 vm=a epoch=-1 step=1",
		"v=dpmip1 vm=a epoch=1 step=4294967296", "v=dpmip1 vm= epoch=1 step=1", "v=dpmip1 a epoch=1 step=1",
		"v=dpmip1 vm=a epoch=1 step=1 here", "v=dpmip1 vm=a epoch=1 step=1 gone x",
	} {
		if r, err := ParseEpochRecord(strings.Fields(text)); !errors.Is(err, ErrEpochRecord) {
			t.Errorf("%q accepted as %v (%v)", text, r, err)
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	u := Update{
		Zone: "example.", VM: mobility.NAI("vm1"), Version: Version{5, 2},
		Items: []Item{{Name: "a.example.", Exclusive: true}, {Name: "b.example."}, {Name: "c.example.", Purge: true, Gone: true}},
	}
	rec := func(vm string, epoch mobility.Epoch, step uint32, gone bool) []string {
		return EpochRecord{mobility.NAI(vm), Version{epoch, step}, gone}.Text()
	}
	own := rec("vm1", 5, 2, false)
	const a, b, c = "_dpmip-epoch.a.example.", "_dpmip-epoch.b.example.", "_dpmip-epoch.c.example."
	tests := []struct {
		name    string
		stored  Stored
		applied bool
		err     error
	}{
		{"nothing there", nil, false, nil},
		{"all there", Stored{a: {own}, b: {own}}, true, nil},
		{"one lacks", Stored{a: {own}}, false, nil},
		{"one is older", Stored{a: {own}, b: {rec("vm1", 5, 1, false)}}, false, nil},
		{"not yet purged", Stored{a: {own}, b: {own}, c: {rec("vm1", 3, 9, true)}}, false, nil},
		{"newer step", Stored{a: {own}, b: {rec("vm1", 5, 3, false)}}, false, ErrStale},
		{"newer epoch", Stored{a: {rec("vm1", 6, 1, true)}}, false, ErrStale},
		{"newer where purged", Stored{c: {rec("vm1", 6, 1, false)}}, false, ErrStale},
		{"another beside ours", Stored{a: {own}, b: {rec("vm2", 9, 9, false), own}}, true, nil},
		{"another's name", Stored{a: {rec("vm2", 1, 1, false)}}, false, ErrForeign},
		{"another's tombstone", Stored{a: {rec("vm2", 9, 1, true), own}, b: {own}}, true, nil},
		{"somebody's text", Stored{b: {{"hello"}}}, false, ErrEpochRecord},
	}
	for _, tt := range tests {
		applied, err := u.Judge(tt.stored)
		if applied != tt.applied || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, %v; want %v, %v", tt.name, applied, err, tt.applied, tt.err)
		}
	}
}
