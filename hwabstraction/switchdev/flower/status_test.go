package flower

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var comparers = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

const header = 16 // of netlink

// parsed is a request read as if the kernel had given it back.
func parsed(t testing.TB, message []byte) Status {
	t.Helper()
	s, ok, err := ParseStatus(message[header:])
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	return s
}

func TestParsesWhatTCSends(t *testing.T) {
	t.Parallel()
	for name, want := range filters() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := parsed(t, golden(t, name))
			if diff := cmp.Diff(want, s.Filter, comparers); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(s.Beyond) > 0 || s.Kind != "flower" || !s.Holds(want) {
				t.Errorf("kind %q, beyond a filter: %q, holds: %v", s.Kind, s.Beyond, s.Holds(want))
			}
		})
	}
}

func TestHoldsNothingElse(t *testing.T) {
	t.Parallel()
	base := filters()["established4"]
	s := parsed(t, golden(t, "established4"))
	for name, change := range map[string]func(*Filter){
		"port":     func(f *Filter) { f.Port++ },
		"chain":    func(f *Filter) { f.Chain++ },
		"priority": func(f *Filter) { f.Priority++ },
		"handle":   func(f *Filter) { f.Handle++ },
		"family":   func(f *Filter) { f.IPv4 = false },
		"skip_hw":  func(f *Filter) { f.SkipHW = false },
		"skip_sw":  func(f *Filter) { f.SkipSW = true },
		"match":    func(f *Filter) { f.Match.NoFragment = true },
		"cookie":   func(f *Filter) { f.Cookie = []byte{1} },
		"actions":  func(f *Filter) { f.Actions = f.Actions[1:] },
		"action":   func(f *Filter) { f.Actions = append(slices.Clone(f.Actions[:2]), Redirect{va}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := base
			change(&f)
			if s.Holds(f) {
				t.Error("another filter is taken for the same")
			}
		})
	}
	any := base
	any.Handle = 0
	if !s.Holds(any) {
		t.Error("with any handle it is not found")
	}
}

// TestBeyond reads what a Filter cannot say, each out of a filter changed in one
// place.
func TestBeyond(t *testing.T) {
	t.Parallel()
	at := func(b []byte, seq ...byte) int {
		i := strings.Index(string(b), string(seq))
		if i < 0 {
			t.Fatalf("no %x in %x", seq, b)
		}
		return i
	}
	for name, c := range map[string]struct {
		golden string
		change func(b []byte)
		want   string
	}{
		"protocol":        {"drop", func(b []byte) { b[header+16], b[header+17] = 8, 6 }, "protocol 0x0806"},
		"another key":     {"track4", func(b []byte) { b[at(b, 8, 0, 12, 0)+2] = 28 }, "key 28"},
		"address's mask":  {"track4", func(b []byte) { b[at(b, 8, 0, 13, 0)+5] = 0xef }, "address c0000207/ffefffff"},
		"state's mask":    {"drop", func(b []byte) { b[at(b, 6, 0, 92, 0)+4] = 0xff }, "ct_state 0x9/0xff"},
		"zone's mask":     {"established4", func(b []byte) { b[at(b, 6, 0, 94, 0)+4] = 0xf }, "ct_zone 77/0xff0f"},
		"fragments":       {"guard6", func(b []byte) { b[at(b, 8, 0, 47, 0)+7] = 1 }, "ip_flags 0x1/0x1"},
		"MAC's mask":      {"entry", func(b []byte) { b[at(b, 10, 0, 5, 0)+9] = 0 }, "MAC 020000000001/ffffffffff00"},
		"verdict":         {"drop", func(b []byte) { b[at(b, 24, 0, 2, 0)+4+genVerdict] = 1 }, "action gact"},
		"another action":  {"drop", func(b []byte) { copy(b[at(b, 'g', 'a', 'c', 't'):], "vlan") }, "action vlan"},
		"force":           {"midstream", func(b []byte) { b[at(b, 6, 0, 3, 0)+4] = 3 }, "action ct"},
		"mirror":          {"source", func(b []byte) { b[at(b, 32, 0, 2, 0)+4+genSize] = 2 }, "action mirred"},
		"edit":            {"hop6", func(b []byte) { b[at(b, 255, 255, 255, 0)+7] = 0xfe }, "action pedit"},
		"edit's header":   {"hop6", func(b []byte) { b[at(b, 6, 0, 1, 0, 3)+4] = 4 }, "action pedit"},
		"early cookie":    {"owned", func(b []byte) { b[at(b, 6, 0, 4, 0, 77)+2] = 9 }, "action ct"},
		"action's number": {"drop", func(b []byte) { b[at(b, 'g', 'a', 'c', 't')-6] = 60 }, "action number 60"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := golden(t, c.golden)
			c.change(b)
			s := parsed(t, b)
			if !slices.Contains(s.Beyond, c.want) {
				t.Errorf("beyond a filter: %q, want %q", s.Beyond, c.want)
			}
			if s.Holds(filters()[c.golden]) {
				t.Error("it is taken for what it was")
			}
		})
	}
}

// dumped is a filter of one action with what a kernel adds to it.
func dumped(kind string, flags uint32, handle uint32) []byte {
	b, _ := Filter{Port: va, Chain: 3, Priority: 7, Handle: handle}.appendHead(nil, 0, 0)
	b = b[:header+sizeofTcmsg]
	b = appendText(appendUint32(b, tcaChain, 3), tcaKind, kind)
	b, opts := begin(b, tcaOptions)
	if kind == "bpf" {
		b = appendText(appendUint32(b, bpfFlags, flags), bpfName, "dpmip")
		return end(b, opts)[header:]
	}
	b, list := begin(b, keyActions)
	b, act := begin(b, 1)
	b = appendText(b, actKind, "gact")
	b, stats := begin(b, actStats)
	for i, v := range [][2]uint64{{1000, 10}, {600, 6}} {
		b = appendBytes(b, []uint16{statsBasic, statsBasicHW}[i], binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, v[0]), v[1])...)
		if i == 0 {
			b = appendBytes(b, statsPacket, binary.NativeEndian.AppendUint64(nil, 1<<32+10)...)
		}
	}
	b = end(b, stats)
	b, o := beginNested(b, actOptions)
	b = appendGen(b, endParms, actShot)
	var times []byte
	for _, v := range []uint64{900, 250, 0, 800} { // installed, last use, expires, first use: clock ticks ago
		times = binary.NativeEndian.AppendUint64(times, v)
	}
	b = end(appendBytes(b, endTime, times...), o)
	b = end(b, act)
	b = end(b, list)
	b = appendUint32(appendUint32(b, keyFlags, flags), keyInHWCount, 2)
	return end(b, opts)[header:]
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	place := Filter{Port: va, Chain: 3, Priority: 7, Handle: 1}
	dropping := place
	dropping.SkipSW, dropping.Actions = true, []Action{Drop{}}
	for name, c := range map[string]struct {
		data []byte
		want Status
		ok   bool
	}{
		"in hardware": {dumped(kindFlower, skipSW|inHW, 1), Status{
			Filter: dropping, Kind: "flower", Protocol: protocolIPv6, InHW: true, InHWCount: 2, CountTold: true,
			Packets: 1<<32 + 10, Bytes: 1000, HWPackets: 6, HWBytes: 600, HWTold: true, Idle: 2500 * time.Millisecond,
		}, true},
		"a program":   {dumped("bpf", 0, 1), Status{Filter: place, Kind: "bpf", Name: "dpmip", Protocol: protocolIPv6}, true},
		"of another":  {dumped("matchall", 0, 1), Status{Filter: place, Kind: "matchall", Protocol: protocolIPv6}, true},
		"no filter":   {dumped(kindFlower, 0, 0), Status{}, false},
		"no protocol": {dumped(kindFlower, 0, 0)[:sizeofTcmsg], Status{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok, err := ParseStatus(c.data)
			if err != nil || ok != c.ok {
				t.Fatalf("%v, %v", ok, err)
			}
			if diff := cmp.Diff(c.want, got, comparers); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestHardware: hardware has a filter, and forwards by it, where flag, count and
// counters agree, as far as the kernel tells them.
func TestHardware(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status              Status
		offloaded, hardware bool
	}{
		"nothing told":                       {Status{}, false, false},
		"the flag alone":                     {Status{InHW: true}, true, true},
		"no device":                          {Status{InHW: true, CountTold: true}, false, false},
		"two devices":                        {Status{InHW: true, CountTold: true, InHWCount: 2}, true, true},
		"devices, and no flag":               {Status{CountTold: true, InHWCount: 2}, false, false},
		"no packet yet":                      {Status{InHW: true, HWTold: true}, true, true},
		"software counts alone":              {Status{InHW: true, HWTold: true, Packets: 3}, true, false},
		"software counts alone, two devices": {Status{InHW: true, CountTold: true, InHWCount: 2, HWTold: true, Packets: 3}, true, false},
		"not told who counts":                {Status{InHW: true, Packets: 3}, true, true},
		"some by hardware":                   {Status{InHW: true, HWTold: true, Packets: 3, HWPackets: 1}, true, true},
		"hardware counts, and no flag":       {Status{HWTold: true, Packets: 3, HWPackets: 3}, false, false},
	} {
		if got := [2]bool{c.status.Offloaded(), c.status.Hardware()}; got != [2]bool{c.offloaded, c.hardware} {
			t.Errorf("%s: offloaded and in hardware: %v, want %v, %v", name, got, c.offloaded, c.hardware)
		}
	}
}

// TestTruncated cuts a dumped filter at every byte: an error, or less, never a
// panic and never the same filter.
func TestTruncated(t *testing.T) {
	t.Parallel()
	for name, f := range filters() {
		b := golden(t, name)[header:]
		for n := range len(b) {
			if s, ok, err := ParseStatus(b[:n]); err == nil && ok && s.Holds(f) && n < len(b)-4 {
				t.Errorf("%s: %d of %d bytes are taken for the whole", name, n, len(b))
			}
		}
	}
}

// FuzzParseStatus: whatever comes, a status that Holds its own filter writes the
// bytes that are read as the same again.
func FuzzParseStatus(f *testing.F) {
	for name := range filters() {
		f.Add(golden(f, name)[header:])
	}
	f.Add(dumped(kindFlower, skipSW, 1))
	f.Add(dumped("bpf", 0, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok, err := ParseStatus(data)
		if err != nil || !ok || s.Kind != kindFlower || len(s.Beyond) > 0 || s.Filter.Validate() != nil {
			return
		}
		b, err := s.AppendAdd(nil)
		if err != nil {
			t.Fatal(err)
		}
		again := parsed(t, b)
		if !again.Holds(s.Filter) || !s.Holds(again.Filter) {
			t.Errorf("%+v\nis read back as\n%+v", s.Filter, again.Filter)
		}
	})
}

// TestRoundTrip writes filters at random and reads them back.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	mac := func() (m MAC) {
		if r.IntN(2) == 0 {
			m = MAC{2, byte(r.Uint32()), 3, 4, 5, byte(r.Uint32())}
		}
		return m
	}
	addr := func() (a netip.Addr) {
		if r.IntN(2) == 0 {
			a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(r.Uint32()), 15: byte(r.Uint32())})
		}
		return a
	}
	for range 2000 {
		f := Filter{
			Port: 1 + r.Int32N(100), Chain: r.Uint32N(1 << 28), Priority: uint16(1 + r.IntN(65535)), Handle: 1 + r.Uint32N(1<<30), SkipHW: r.IntN(2) == 0,
			Match: Match{
				SourceMAC: mac(), DestinationMAC: mac(), Source: Host(addr()), NoFragment: r.IntN(2) == 0,
				HopLimitMask: byte(r.IntN(2)), Zone: uint16(r.IntN(3)), State: []State{0, Tracked | Established, Tracked | New}[r.IntN(3)],
			},
			Actions: []Action{
				Conntrack{Zone: uint16(r.IntN(3)), Commit: r.IntN(2) == 0},
				Rewrite{SourceMAC: mac(), DestinationMAC: mac(), Source: addr(), Destination: addr(), Hop: true},
				ChecksumTCP, []Action{Drop{}, Trap{}, Redirect{3}, Goto{r.Uint32N(1 << 28)}}[r.IntN(4)],
			},
			Cookie: []byte{1, byte(r.Uint32())},
		}
		if d := addr(); d.IsValid() {
			f.Match.Destination = netip.PrefixFrom(d, 1+r.IntN(128)).Masked()
		}
		b, err := f.AppendReplace(nil)
		if err != nil {
			t.Fatal(err)
		}
		s := parsed(t, b)
		if diff := cmp.Diff(f, s.Filter, comparers); diff != "" || len(s.Beyond) > 0 || !s.Holds(f) {
			t.Fatalf("beyond %q (-written +read):\n%s", s.Beyond, diff)
		}
	}
}
