package probe

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var token1 = Token{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// packet makes a probe as it is caught.
func packet(src, dst netip.Addr, t Token) []byte {
	u := append(make([]byte, udpHeader), Payload(t)...)
	binary.BigEndian.PutUint16(u[2:], Port)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	if dst.Is4() {
		h := make([]byte, v4Shortest)
		h[0], h[9] = 0x45, Protocol
		copy(h[12:], src.AsSlice())
		copy(h[16:], dst.AsSlice())
		return append(h, u...)
	}
	h := make([]byte, v6Header)
	h[0], h[6] = 0x60, Protocol
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(h, u...)
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, want := range []Packet{
		{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), token1},
		{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), token1},
	} {
		whole := packet(want.Source, want.Destination, want.Token)
		got, ok := Parse(whole)
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); !ok || d != "" {
			t.Errorf("to %s: %v (-want +got):\n%s", want.Destination, ok, d)
		}
		for n := range whole {
			if _, ok := Parse(whole[:n]); ok {
				t.Errorf("to %s: %d of %d bytes are a probe", want.Destination, n, len(whole))
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for name, spoil := range map[string]func([]byte){
		"another protocol": func(p []byte) { p[9] = 6 },
		"another port":     func(p []byte) { p[23]++ },
		"another magic":    func(p []byte) { p[28]++ },
		"another version":  func(p []byte) { p[32]++ },
		"a later fragment": func(p []byte) { p[7] = 1 },
		"no IP":            func(p []byte) { p[0] = 0x25 },
		"a long header":    func(p []byte) { p[0] = 0x4f },
		"a short header":   func(p []byte) { p[0] = 0x44 },
	} {
		p := packet(a, b, token1)
		spoil(p)
		if got, ok := Parse(p); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(packet(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), token1))
	f.Add(packet(netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), token1))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := Parse(b)
		if ok && (!p.Source.IsValid() || p.Source.Is4() != p.Destination.Is4()) {
			t.Errorf("%x is a probe from %s to %s", b, p.Source, p.Destination)
		}
	})
}

func TestTokenOf(t *testing.T) {
	t.Parallel()
	if got, err := TokenOf(token1[:]); err != nil || got != token1 {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := TokenOf(token1[:15]); err == nil {
		t.Error("15 bytes are a token")
	}
}
