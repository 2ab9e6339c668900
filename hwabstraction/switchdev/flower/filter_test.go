package flower

import (
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// va and vb are the interface indices of the ports in testdata/filters.txt.
const va, vb = 100, 101

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// filters are those of testdata/filters.txt.
func filters() map[string]Filter {
	const tracked = Tracked | Established
	cookie := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	return map[string]Filter{
		"track6": {
			Port: va, Priority: 10, Handle: 1, SkipHW: true,
			Match:   Match{Destination: Host(ip("2001:db8::7")), Protocol: unix.IPPROTO_TCP},
			Actions: []Action{Conntrack{Zone: 77}, Goto{5}},
		},
		"track4": {
			Port: va, Priority: 11, Handle: 2, IPv4: true, SkipSW: true,
			Match:   Match{Destination: Host(ip("192.0.2.7"))},
			Actions: []Action{Conntrack{Zone: 77}, Goto{5}},
		},
		"established6": {
			Port: va, Chain: 5, Priority: 1, Handle: 3, SkipHW: true, Match: Match{State: tracked, Zone: 77},
			Actions: []Action{
				Rewrite{SourceMAC: MAC{2, 5: 1}, DestinationMAC: MAC{2, 5: 2}, Destination: ip("2001:db8:ffff::9")},
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
		"source": {Port: va, Priority: 3, Handle: 6, Match: Match{Source: Host(ip("2001:db8::7"))}, Actions: []Action{Redirect{vb}}},
		"owned": {
			Port: va, Priority: 3, Handle: 10, Match: Match{Source: Host(ip("2001:db8::7"))},
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
		"entry": {
			Port: va, Priority: 1, Handle: 11, All: true, SkipHW: true,
			Match:   Match{DestinationMAC: MAC{2, 5: 1}},
			Actions: []Action{Goto{5}}, Cookie: cookie,
		},
		"guard6": {
			Port: va, Chain: 5, Priority: 3, Handle: 12, SkipHW: true,
			Match: Match{
				SourceMAC: MAC{2, 5: 3}, DestinationMAC: MAC{2, 5: 4}, Source: Host(ip("2001:db8::7")), Destination: netip.MustParsePrefix("2001:db8:8000::/33"),
				Protocol: unix.IPPROTO_UDP, NoFragment: true,
			},
			Actions: []Action{Rewrite{Source: ip("2001:db8::9"), Hop: true}, ChecksumUDP, Redirect{vb}},
		},
		"hop4": {
			Port: va, Chain: 5, Priority: 4, Handle: 13, IPv4: true, SkipHW: true,
			Match:   Match{Destination: netip.MustParsePrefix("10.128.0.0/9"), HopLimitMask: 0xfe},
			Actions: []Action{Goto{6}},
		},
	}
}

// deleted is that of the message delete.hex.
var deleted = Filter{Port: va, Chain: 5, Priority: 1, Handle: 3}

// golden is a message that tc sent.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := captured.ReadFile("testdata/" + name + ".hex")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// acknowledged asks for an acknowledgement, as tc does.
func acknowledged(b []byte) []byte {
	b[6] |= unix.NLM_F_ACK
	return b
}

func TestSameBytesAsTC(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Fatalf("the captured bytes are little-endian, this is %s", runtime.GOARCH)
	}
	files, err := fs.Glob(captured, "testdata/*.hex")
	if err != nil {
		t.Fatal(err)
	}
	all := filters()
	if len(files) != len(all)+1 {
		t.Errorf("testdata holds %d messages, the test has %d filters and a deletion", len(files), len(all))
	}
	for name, f := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := f.AppendAdd(nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(hex.Dump(golden(t, name)), hex.Dump(acknowledged(got))); diff != "" {
				t.Errorf("not what tc sends (-tc +ours):\n%s", diff)
			}
		})
	}
	got, err := deleted.AppendDelete(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t, "delete")[:len(got)] // tc adds options, which the kernel does not look at
	want[0] = byte(len(got))
	if diff := cmp.Diff(hex.Dump(want), hex.Dump(acknowledged(got))); diff != "" {
		t.Errorf("delete: not what tc sends (-tc +ours):\n%s", diff)
	}
}

func TestReplaceIsAddWithoutExcl(t *testing.T) {
	t.Parallel()
	f := filters()["trap"]
	add, err := f.AppendAdd([]byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	replace, err := f.AppendReplace([]byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	const flags = len("before") + 6
	if got := binary.NativeEndian.Uint16(add[flags:]) &^ binary.NativeEndian.Uint16(replace[flags:]); got != unix.NLM_F_EXCL {
		t.Errorf("flags of Add beyond those of Replace: %#x, want NLM_F_EXCL", got)
	}
	copy(add[flags:flags+2], replace[flags:])
	if diff := cmp.Diff(add, replace); diff != "" {
		t.Errorf("the rest (-add +replace):\n%s", diff)
	}
}

func TestDeleteRefused(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]Filter{
		"port 0": {Priority: 1, Handle: 1}, "priority 0": {Port: va, Handle: 1}, "handle 0": {Port: va, Priority: 1},
		"chain 268435456": {Port: va, Priority: 1, Handle: 1, Chain: 1 << 28},
	} {
		if _, err := f.AppendDelete(nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
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
		{"source's family", func(f *Filter) { f.Match.Source = Host(ip("2001:db8::1")) }, "source 2001:db8::1/128"},
		{"destination's family", func(f *Filter) { f.Match.Destination = Host(ip("2001:db8::1")) }, "destination 2001:db8::1/128"},
		{"prefix", func(f *Filter) { f.Match.Source = netip.MustParsePrefix("10.0.0.1/8") }, "source 10.0.0.1/8"},
		{"no prefix", func(f *Filter) { f.Match.Source = netip.MustParsePrefix("0.0.0.0/0") }, "source 0.0.0.0/0"},
		{"two protocols", func(f *Filter) { f.All = true }, "all protocols and IPv4"},
		{"hop limit of all", func(f *Filter) { f.IPv4, f.All, f.Match = false, true, Match{HopLimitMask: 1} }, "only MACs"},
		{"rewrite of all", func(f *Filter) {
			f.IPv4, f.All, f.Match, f.Actions = false, true, Match{}, []Action{Rewrite{Hop: true}, Drop{}}
		}, "only MACs"},
		{"hop limit", func(f *Filter) { f.Match.HopLimit = 1 }, "hop limit 0x1"},
		{"flags beyond", func(f *Filter) { f.Match.Protocol, f.Match.Flags, f.Match.FlagsMask = 6, 3, 2 }, "beyond the mask"},
		{"flags too many", func(f *Filter) { f.Match.Protocol, f.Match.FlagsMask = 6, 0x1002 }, "mask 0x1002"},
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
			_, err := f.AppendAdd(nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "flower: ") {
				t.Errorf("error %v, want one of flower that names %q", err, c.want)
			}
		})
	}
}
