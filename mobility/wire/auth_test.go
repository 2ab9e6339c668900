package wire

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

func newKey(t testing.TB, spi uint32, a Algorithm) *Key {
	t.Helper()
	k, err := NewKey(spi, a, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func appendSigned(t testing.TB, m *Message, k *Key, careOf netip.Addr) []byte {
	t.Helper()
	b, err := m.AppendSigned(nil, k, careOf)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSignedByTheBook computes the authenticator as the profile writes it down,
// for both algorithms and locators of both families, behind leads of every
// length.
func TestSignedByTheBook(t *testing.T) {
	for _, a := range []Algorithm{HMACSHA256, HMACSHA1} {
		for _, careOf := range []string{"2001:db8::1", "192.0.2.1"} {
			for lead := range 9 {
				k, m := newKey(t, 0x1001, a), new(Message)
				m.Reset(TypeRequest)
				m.AddOption(Option{Type: 200, Data: make([]byte, lead)})
				b := appendSigned(t, m, k, ip(careOf))
				if len(b)%8 != 0 || int(b[1]) != len(b)/8-1 {
					t.Fatalf("%s: %d bytes, header length %d", a, len(b), b[1])
				}
				at := len(b) - a.Size()
				co := ip(careOf).As16()
				h := hmac.New(sha256.New, secret)
				if a == HMACSHA1 {
					h = hmac.New(sha1.New, secret)
				}
				h.Write(slices.Concat(co[:], make([]byte, 16), b[:at]))
				if d := diff(h.Sum(nil)[:a.Size()], b[at:]); d != "" {
					t.Errorf("%s, %s: (-want +got)\n%s", a, careOf, d)
				}
				SetChecksum(b, oldA, oldB) // not covered
				if err := k.Verify(mustParse(t, b), ip(careOf)); err != nil {
					t.Errorf("%s, %s: %v", a, careOf, err)
				}
			}
		}
	}
}

// TestEveryByteIsCovered changes each byte of a signed message in turn.
func TestEveryByteIsCovered(t *testing.T) {
	v := vectorNamed(t, "20_commit")
	k, m := newKey(t, 0x1002, HMACSHA256), new(Message)
	if err := m.Parse(v.MH); err != nil {
		t.Fatal(err)
	}
	if err := k.Verify(m, v.CareOf); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range v.MH {
		b := with(v.MH, i, v.MH[i]^0x40)
		if m.Parse(b) != nil {
			continue
		}
		refused++
		err := k.Verify(m, v.CareOf)
		if checksum := i == checksumOff || i == checksumOff+1; (err == nil) != checksum {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	if refused < 150 {
		t.Errorf("only %d changes got as far as the authenticator", refused)
	}
}

func TestVerifyRefuses(t *testing.T) {
	careOf := ip("2001:db8::1")
	sign := func(k *Key) []byte {
		m := new(Message)
		m.Reset(TypeHeartbeat)
		return appendSigned(t, m, k, careOf)
	}
	k := newKey(t, 0x1001, HMACSHA256)
	good := sign(k)
	subtype2 := slices.Clone(good)
	subtype2[len(good)-21] = 2
	unsigned := new(Message)
	unsigned.Reset(TypeHeartbeat)
	other, err := NewKey(0x1001, HMACSHA256, []byte("another secret"))
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name   string
		b      []byte
		k      *Key
		careOf netip.Addr
		kind   Kind
	}{
		{"no option", mustAppend(t, unsigned), k, careOf, KindAuthMissing},
		{"subtype 2", subtype2, k, careOf, KindAuthSubtype},
		{"another SPI", good, newKey(t, 0x1002, HMACSHA256), careOf, KindAuthSPI},
		{"another secret", good, other, careOf, KindAuthMismatch},
		{"another algorithm", good, newKey(t, 0x1001, HMACSHA1), careOf, KindAuthMismatch},
		{"the shorter algorithm", sign(newKey(t, 0x1001, HMACSHA1)), k, careOf, KindAuthMismatch},
		{"another care-of address", good, k, ip("2001:db8::2"), KindAuthMismatch},
		{"no care-of address", good, k, netip.Addr{}, KindAuthMismatch},
	}
	for _, r := range rows {
		if err := r.k.Verify(mustParse(t, r.b), r.careOf); !errors.Is(err, r.kind) {
			t.Errorf("%s: %v, want %s", r.name, err, r.kind)
		}
	}
	if err := k.Verify(mustParse(t, good), careOf); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	k, m := newKey(t, 256, HMACSHA256), new(Message)
	dst := []byte{1}
	check := func(name string, careOf netip.Addr, kind Kind) {
		t.Helper()
		if out, err := m.AppendSigned(dst, k, careOf); !errors.Is(err, kind) || len(out) != 1 {
			t.Errorf("%s: %v (%d bytes), want %s", name, err, len(out), kind)
		}
	}
	m.Reset(9)
	check("unknown type", oldA, KindUnencodable)
	m.Reset(TypeRequest)
	check("no care-of address", netip.Addr{}, KindUnencodable)
	m.AddAuthentication(Authentication{Authenticator: make([]byte, 16)})
	check("signed already", oldA, KindOptionDuplicate)
	m.Reset(TypeRequest)
	for range 8 {
		m.AddOption(Option{200, make([]byte, 250)})
	}
	check("no room", oldA, KindMessageTooLong)
}

func TestNewKeyRefuses(t *testing.T) {
	for _, r := range []struct {
		spi    uint32
		alg    Algorithm
		secret []byte
		text   string
	}{
		{255, HMACSHA256, secret, "wire: SPI 255, want at least 256"},
		{256, HMACSHA256, nil, "wire: SPI 256: empty secret"},
		{256, 0, secret, "wire: SPI 256: algorithm invalid(0)"},
	} {
		if _, err := NewKey(r.spi, r.alg, r.secret); err == nil || err.Error() != r.text {
			t.Errorf("%v, want %s", err, r.text)
		}
	}
	var a Algorithm
	if err := a.UnmarshalText([]byte("hmac-sha1-96")); err != nil || a != HMACSHA1 {
		t.Errorf("%v, %v", a, err)
	}
	if err := a.UnmarshalText([]byte("md5")); err == nil {
		t.Error("md5 accepted")
	}
}

func TestKeyIsShared(t *testing.T) {
	k, careOf := newKey(t, 256, HMACSHA256), ip("2001:db8::1")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			m, p := new(Message), new(Message)
			for i := range 200 {
				m.Reset(TypeHeartbeat)
				m.Heartbeat.Sequence = uint32(g<<16 | i)
				b, err := m.AppendSigned(nil, k, careOf)
				if err == nil {
					err = p.Parse(b)
				}
				if err == nil {
					err = k.Verify(p, careOf)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestCareOf(t *testing.T) {
	src, dst := ip("2001:db8::1"), ip("2001:db8::2")
	m := new(Message)
	rows := []struct {
		name string
		set  func()
		want netip.Addr
	}{
		{"request", func() { m.Reset(TypeRequest) }, src},
		{"request with option 3", func() { m.Reset(TypeRequest); m.AddAlternateCareOf(oldA) }, oldA},
		{"reply", func() { m.Reset(TypeReply) }, dst},
		{"reply with option 3", func() { m.Reset(TypeReply); m.AddAlternateCareOf(oldA) }, oldA},
		{"binding error", func() { m.Reset(TypeBindingError) }, dst},
		{"heartbeat request", func() { m.Reset(TypeHeartbeat) }, src},
		{"heartbeat response", func() { m.Reset(TypeHeartbeat); m.Heartbeat.Flags = HeartbeatResponse }, dst},
		{"revocation", func() { m.Reset(TypeRevocation); m.Revocation.Kind = RevocationIndication }, src},
		{"revocation ack", func() { m.Reset(TypeRevocation); m.Revocation.Kind = RevocationAck }, dst},
		{"update notification", func() { m.Reset(TypeUpdateNotification) }, src},
		{"update ack", func() { m.Reset(TypeUpdateAck) }, dst},
	}
	for _, r := range rows {
		r.set()
		if got := m.CareOf(src, dst); got != r.want {
			t.Errorf("%s: %s, want %s", r.name, got, r.want)
		}
	}
}

func TestChecksum(t *testing.T) {
	// An odd number of bytes and one too short for the field still have a sum.
	if got := Checksum([]byte{0x12}, ip("::"), ip("::")); got != ^uint16(0x1200+1+135) {
		t.Errorf("one byte: %#04x", got)
	}
	if err := VerifyChecksum(make([]byte, 7), oldA, oldB); !errors.Is(err, KindShortMessage) {
		t.Errorf("seven bytes: %v", err)
	}
	b := make([]byte, 8)
	SetChecksum(b, oldA, oldB)
	if err := VerifyChecksum(b, oldA, oldB); err != nil {
		t.Error(err)
	}
	b[7] ^= 1
	if err := VerifyChecksum(b, oldA, oldB); !errors.Is(err, KindChecksum) {
		t.Errorf("changed: %v", err)
	}
}
