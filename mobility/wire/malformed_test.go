package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// raw makes a message of type t from the bytes behind its fixed part; the header
// length is right if they fill it up.
func raw(t Type, options ...byte) []byte {
	b := append(make([]byte, t.fixedLen()), options...)
	b[0], b[1], b[2] = payloadProto, byte(len(b)/8-1), byte(t)
	return b
}

func with(b []byte, at int, v byte) []byte {
	b = slices.Clone(b)
	b[at] = v
	return b
}

// opt is an option with n data bytes of 1.
func opt(t OptionType, n int) []byte {
	return append([]byte{byte(t), byte(n)}, bytes.Repeat([]byte{1}, n)...)
}

// filled makes a Request of the options given and a final pad.
func filled(options ...[]byte) []byte {
	all := slices.Concat(options...)
	return raw(TypeRequest, appendPad(all, -(12+len(all))&7)...)
}

func malformedRows(t testing.TB) []malformedRow {
	commit := vectorNamed(t, "20_commit").MH
	auth := opt(OptAuthentication, 21)
	return []malformedRow{
		{"nothing", nil, KindShortMessage, "wire: message: 8 bytes short"},
		{"seven bytes", commit[:7], KindShortMessage, "wire: message: 1 byte short"},
		{"payload proto 58", with(commit, 0, 58), KindPayloadProto, "wire: payload proto 58, want 59"},
		{"payload proto 0", with(commit, 0, 0), KindPayloadProto, "wire: payload proto 0, want 59"},
		{"header length one too large", with(commit, 1, commit[1]+1), KindShortMessage, "wire: message: 8 bytes short"},
		{"header length 255", with(commit, 1, 255), KindShortMessage, "wire: message: 1832 bytes short"},
		{"header length one too small", with(commit, 1, commit[1]-1), KindTrailingBytes, "wire: message: 8 bytes trailing"},
		{"header length 0", with(commit, 1, 0), KindTrailingBytes, "wire: message: 208 bytes trailing"},
		{"one trailing byte", append(slices.Clone(commit), 0), KindTrailingBytes, "wire: message: 1 byte trailing"},
		{"unknown type", with(commit, 2, 9), KindUnknownType, "wire: unknown MH type 9"},
		{"type 0", with(commit, 2, 0), KindUnknownType, "wire: unknown MH type 0"},
		{"request of 8 bytes", []byte{59, 0, 5, 0, 0, 0, 0, 0}, KindHeaderLength, "wire: request: header of 8 bytes, want at least 12"},
		{"binding error of 16 bytes", append([]byte{59, 1, 7}, make([]byte, 13)...), KindHeaderLength, "wire: binding error: header of 16 bytes, want at least 24"},

		{"option past the end", raw(TypeRequest, 22, 5, 0, 0), KindOptionOverrun, "wire: option 22: 3 bytes short"},
		{"PadN past the end", raw(TypeRequest, 1, 3, 0, 0), KindOptionOverrun, "wire: option 1: 1 byte short"},
		{"unknown option past the end", raw(TypeRequest, 200, 255, 0, 0), KindOptionOverrun, "wire: option 200: 253 bytes short"},
		{"type byte alone at the end", raw(TypeRequest, 1, 1, 0, 23), KindOptionOverrun, "wire: option 23: 1 byte short"},
		{"option of a heartbeat past the end", raw(TypeHeartbeat, 28, 4, 0, 0), KindOptionOverrun, "wire: option 28: 2 bytes short"},

		{"two identifiers", filled(opt(OptVMID, 3), opt(OptVMID, 3)), KindOptionDuplicate, "wire: option 8: duplicate at byte 17"},
		{"two link-layer identifiers", filled(opt(OptLinkLayerID, 8), opt(OptLinkLayerID, 8)), KindOptionDuplicate, "wire: option 25: duplicate at byte 22"},
		{"two timestamps", filled(opt(OptTimestamp, 8), opt(OptTimestamp, 8)), KindOptionDuplicate, "wire: option 27: duplicate at byte 22"},
		{"two replay protections", filled(opt(OptReplayProtection, 8), opt(OptReplayProtection, 8)), KindOptionDuplicate, "wire: option 10: duplicate at byte 22"},
		{"two authenticators", filled(auth, auth), KindOptionAfterAuth, "wire: option 9: behind the authenticator, at byte 35"},
		{"option after the authenticator", filled(auth, opt(OptTimestamp, 8)), KindOptionAfterAuth, "wire: option 27: behind the authenticator, at byte 35"},
		{"unknown option after the authenticator", filled(auth, opt(200, 3)), KindOptionAfterAuth, "wire: option 200: behind the authenticator, at byte 35"},
		{"PadN after the authenticator", filled(auth), KindOptionAfterAuth, "wire: option 1: behind the authenticator, at byte 35"},
		{"Pad1 after the authenticator", filled([]byte{0, 0, 0, 0}, auth), KindOptionAfterAuth, "wire: option 0: behind the authenticator, at byte 39"},

		{"our ticket too short", filled(ourVendor(VendorTicket, 15)), KindOptionShort, "wire: option 19: length 20, want at least 21"},
		{"our IPv6 delivery with IPv4 addresses", filled(ourVendor(VendorDelivery6, 8)), KindOptionShort, "wire: option 19: length 13, want at least 37"},
	}
}

type malformedRow struct {
	name string
	b    []byte
	kind Kind
	text string
}

func ourVendor(v VendorSubtype, n int) []byte {
	o := opt(OptVendor, vendorHeadLen+n)
	copy(o[2:], []byte{0, 0, 0x7e, 0xd9, byte(v)})
	return o
}

func TestMalformed(t *testing.T) {
	m := new(Message)
	for _, r := range malformedRows(t) {
		err := m.Parse(r.b)
		if !errors.Is(err, r.kind) {
			t.Errorf("%s: %v, want %s", r.name, err, r.kind)
			continue
		}
		if d := cmp.Diff(r.text, err.Error()); d != "" {
			t.Errorf("%s: (-want +got)\n%s", r.name, d)
		}
		if got := DropReason(fmt.Errorf("peer: %w", err)); got != r.kind.String() {
			t.Errorf("%s: reason %q, want %q", r.name, got, r.kind)
		}
		if m.Type != TypeInvalid || len(m.spans) != 0 || m.buf != nil {
			t.Errorf("%s: the refused message left something behind", r.name)
		}
	}
}

// TestTruncated cuts every vector at every byte, with the header length as it
// was and with one that fits the cut.
func TestTruncated(t *testing.T) {
	m := new(Message)
	for _, v := range vectors(t) {
		for n := range len(v.MH) {
			if err := m.Parse(v.MH[:n:n]); !errors.Is(err, KindShortMessage) {
				t.Errorf("%s cut to %d: %v", v.Name, n, err)
			}
		}
		for n := 8; n < len(v.MH); n += 8 {
			cut := with(v.MH[:n:n], 1, byte(n/8-1))
			err := m.Parse(cut)
			if err == nil {
				// An honest prefix: the cut fell between two options.
				if d := diff(cut, mustAppend(t, m)); d != "" {
					t.Errorf("%s cut to %d: (-want +got)\n%s", v.Name, n, d)
				}
				continue
			}
			if !errors.Is(err, KindOptionOverrun) && !errors.Is(err, KindHeaderLength) {
				t.Errorf("%s cut to %d with a fitting length: %v", v.Name, n, err)
			}
		}
	}
}

// TestLyingLengths sets the length byte of every option of every vector to every
// value: never a panic, and what parses comes out as it went in.
func TestLyingLengths(t *testing.T) {
	m, lie := new(Message), new(Message)
	for _, v := range vectors(t) {
		if err := m.Parse(v.MH); err != nil {
			t.Fatal(err)
		}
		for _, s := range m.spans {
			if s.typ == OptPad1 {
				continue
			}
			for n := range 256 {
				b := with(v.MH, int(s.off)-1, byte(n))
				if err := lie.Parse(b); err != nil {
					if n == int(s.len) {
						t.Errorf("%s: the true length of %s: %v", v.Name, s.typ, err)
					}
					continue
				}
				if n < int(optionTable[s.typ].min) {
					t.Errorf("%s: %s with length %d parses", v.Name, s.typ, n)
				}
				if d := diff(b, mustAppend(t, lie)); d != "" {
					t.Fatalf("%s: %s with length %d: (-want +got)\n%s", v.Name, s.typ, n, d)
				}
			}
		}
	}
}

// TestMinimumLengths tries each option with a minimum at it, and one below.
func TestMinimumLengths(t *testing.T) {
	mins := map[OptionType]int{
		OptRefreshAdvice: 2, OptAlternateCareOf: 16, OptVMID: 2, OptAuthentication: 6, OptReplayProtection: 8,
		OptVendor: 5, OptVMAddress: 18, OptHandoffIndicator: 2, OptAccessTechnology: 2, OptLinkLayerID: 3,
		OptLinkLocal: 16, OptTimestamp: 8, OptRestartCounter: 4, OptVMIPv4Address: 6, OptDefaultRouter: 6,
	}
	m := new(Message)
	for typ := range OptionType(255) {
		n, has := mins[typ]
		if !has || typ == OptPad1 {
			continue
		}
		lead := bytes.Repeat([]byte{0}, -(12+2+n)&7) // so that it ends the message
		if err := m.Parse(filled(lead, opt(typ, n))); err != nil {
			t.Errorf("%s with %d bytes: %v", typ, n, err)
		}
		err := m.Parse(filled(opt(typ, n-1)))
		want := fmt.Sprintf("wire: option %d: length %d, want at least %d", typ, n-1, n)
		if !errors.Is(err, KindOptionShort) || err.Error() != want {
			t.Errorf("%s with %d bytes: %v, want %s", typ, n-1, err, want)
		}
		if err := m.Parse(filled(lead, opt(typ, n+8))); err != nil {
			t.Errorf("%s, 8 bytes longer than known: %v", typ, err)
		}
	}
}

func TestRepeatableOptions(t *testing.T) {
	for _, typ := range []OptionType{OptVMAddress, OptVMIPv4Address, OptVendor, OptAlternateCareOf, 200} {
		b := filled(opt(typ, 40), opt(typ, 40))
		if m := mustParse(t, b); m.Count(typ) != 2 {
			t.Errorf("%s: %d found, want 2", typ, m.Count(typ))
		}
	}
}

func TestUnknownTypeNamesItself(t *testing.T) {
	err := new(Message).Parse([]byte{59, 0, 99, 0, 0, 0, 0, 0})
	if typ, ok := UnknownType(fmt.Errorf("from peer: %w", err)); !ok || typ != 99 {
		t.Errorf("UnknownType(%v) = %d, %v", err, typ, ok)
	}
	if typ, ok := UnknownType(new(Message).Parse(nil)); ok {
		t.Errorf("a short message has unknown type %d", typ)
	}
}

func TestDropReasons(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range DropReasons() {
		if r == "" || seen[r] {
			t.Errorf("reason %q is empty or there twice", r)
		}
		seen[r] = true
	}
	if got := DropReason(errors.New("x")); got != "other" || !seen[got] {
		t.Errorf("foreign error: reason %q", got)
	}
	if got := DropReason(nil); got != "" {
		t.Errorf("no error: reason %q", got)
	}
}
