package flower

import (
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// va and vb are the interface indices of testdata/capture.sh.
const va, vb = 100, 101

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// filters are those of testdata/filters.txt.
func filters() map[string]Filter {
	const tracked = Tracked | Established
	cookie := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	return map[string]Filter{
		"track6": {
			Port: va, Priority: 10, Handle: 1, SkipHW: true,
			Match:   Match{Destination: ip("2001:db8::7"), Protocol: unix.IPPROTO_TCP},
			Actions: []Action{Conntrack{Zone: 77}, Goto{5}},
		},
		"track4": {
			Port: va, Priority: 11, Handle: 2, IPv4: true, SkipSW: true,
			Match:   Match{Destination: ip("192.0.2.7")},
			Actions: []Action{Conntrack{Zone: 77}, Goto{5}},
		},
		"established6": {
			Port: va, Chain: 5, Priority: 1, Handle: 3, SkipHW: true, Match: Match{State: tracked, Zone: 77},
			Actions: []Action{
				Rewrite{SourceMAC: [6]byte{2, 5: 1}, DestinationMAC: [6]byte{2, 5: 2}, Destination: ip("2001:db8:ffff::9")},
				ChecksumTCP | ChecksumUDP | ChecksumICMP, Redirect{vb},
			},
		},
		"established4": {
			Port: va, Chain: 5, Priority: 1, Handle: 4, IPv4: true, SkipHW: true, Match: Match{State: tracked, Zone: 77},
			Actions: []Action{
				Rewrite{Destination: ip("198.51.100.9"), Hop: true}, ChecksumIPv4 | ChecksumTCP | ChecksumUDP, Redirect{vb},
			},
		},
		"midstream": {
			Port: va, Chain: 5, Priority: 2, Handle: 5, SkipHW: true,
			Match:   Match{Protocol: unix.IPPROTO_TCP, FlagsMask: 0x2},
			Actions: []Action{Conntrack{Zone: 77, Commit: true}, Redirect{vb}},
		},
		"source": {Port: va, Priority: 3, Handle: 6, Match: Match{Source: ip("2001:db8::7")}, Actions: []Action{Redirect{vb}}},
		"owned": {
			Port: va, Priority: 3, Handle: 10, Match: Match{Source: ip("2001:db8::7")},
			Actions: []Action{Conntrack{Zone: 77}, Redirect{vb}}, Cookie: cookie,
		},
		"drop": {
			Port: va, Chain: 5, Priority: 9, Handle: 7, IPv4: true, SkipHW: true, Match: Match{State: Tracked | New},
			Actions: []Action{Drop{}}, Cookie: cookie,
		},
		"trap": {
			Port: va, Chain: 5, Priority: 8, Handle: 8, IPv4: true, SkipHW: true, Match: Match{State: Tracked | New},
			Actions: []Action{Trap{}},
		},
		"hop6": {
			Port: va, Chain: 5, Priority: 1, Handle: 9, SkipHW: true,
			Actions: []Action{Rewrite{Hop: true}, Redirect{vb}},
		},
	}
}

func TestSameBytesAsTC(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Fatalf("the captured bytes are little-endian, this is %s", runtime.GOARCH)
	}
	golden, err := filepath.Glob("testdata/*.hex")
	if err != nil {
		t.Fatal(err)
	}
	all := filters()
	if len(golden) != len(all) {
		t.Errorf("testdata holds %d messages, the test has %d filters", len(golden), len(all))
	}
	for name, f := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("testdata/" + name + ".hex")
			if err != nil {
				t.Fatal(err)
			}
			m, err := f.Add()
			if err != nil {
				t.Fatal(err)
			}
			m.Header.Length = uint32(16 + len(m.Data))
			got, err := m.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(hex.Dump(want), hex.Dump(got)); diff != "" {
				t.Errorf("not what tc sends (-tc +ours):\n%s", diff)
			}
		})
	}
}

func TestReplaceIsAddWithoutExcl(t *testing.T) {
	t.Parallel()
	f := filters()["trap"]
	add, err := f.Add()
	if err != nil {
		t.Fatal(err)
	}
	replace, err := f.Replace()
	if err != nil {
		t.Fatal(err)
	}
	if got := add.Header.Flags &^ replace.Header.Flags; got != unix.NLM_F_EXCL {
		t.Errorf("flags of Add beyond those of Replace: %#x, want NLM_F_EXCL", uint16(got))
	}
	if diff := cmp.Diff(add.Data, replace.Data); diff != "" {
		t.Errorf("data (-add +replace):\n%s", diff)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Filter)
		want   string
	}{
		{"no port", func(f *Filter) { f.Port = 0 }, "port 0"},
		{"no priority", func(f *Filter) { f.Priority = 0 }, "priority 0"},
		{"chain", func(f *Filter) { f.Chain = 1 << 28 }, "chain 268435456"},
		{"nowhere", func(f *Filter) { f.SkipSW = true }, "skip_hw and skip_sw"},
		{"source's family", func(f *Filter) { f.Match.Source = ip("2001:db8::1") }, "source 2001:db8::1"},
		{"destination's family", func(f *Filter) { f.Match.Destination = ip("2001:db8::1") }, "destination 2001:db8::1"},
		{"flags without TCP", func(f *Filter) { f.Match.FlagsMask = 2 }, "TCP flags"},
		{"state without trk", func(f *Filter) { f.Match.State = Established }, "without trk"},
		{"new and established", func(f *Filter) { f.Match.State = Tracked | New | Established }, "new excludes"},
		{"invalid and reply", func(f *Filter) { f.Match.State = Tracked | Invalid | Reply }, "inv stands"},
		{"no action", func(f *Filter) { f.Actions = nil }, "0 actions"},
		{"33 actions", func(f *Filter) { f.Actions = make([]Action, 33) }, "33 actions"},
		{"no end", func(f *Filter) { f.Actions = []Action{Conntrack{}} }, "action 1 of 1 (ct)"},
		{"early end", func(f *Filter) { f.Actions = []Action{Drop{}, Trap{}} }, "action 1 of 2 (gact)"},
		{"goto too far", func(f *Filter) { f.Actions = []Action{Goto{1 << 28}} }, "chain 268435456"},
		{"redirect nowhere", func(f *Filter) { f.Actions = []Action{Redirect{}} }, "port 0"},
		{"empty rewrite", func(f *Filter) { f.Actions = []Action{Rewrite{}, Drop{}} }, "nothing to change"},
		{"rewrite's family", func(f *Filter) { f.Actions = []Action{Rewrite{Destination: ip("::1")}, Drop{}} }, "other family"},
		{"empty checksum", func(f *Filter) { f.Actions = []Action{Checksum(0), Drop{}} }, "nothing to compute"},
		{"IPv6 header checksum", func(f *Filter) { f.IPv4 = false; f.Actions = []Action{ChecksumIPv4, Drop{}} }, "IPv6 header"},
		{"cookie", func(f *Filter) { f.Cookie = make([]byte, 17) }, "cookie of 17 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := filters()["trap"]
			c.change(&f)
			_, err := f.Add()
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "flower: ") {
				t.Errorf("error %v, want one of flower that names %q", err, c.want)
			}
		})
	}
}
