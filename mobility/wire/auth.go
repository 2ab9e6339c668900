package wire

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"net/netip"
	"sync"
)

// MinSPI is the least Security Parameter Index that may be configured; those
// below are reserved (RFC 4285 section 5).
const MinSPI = 256

// Algorithm is how an authenticator is computed. The zero value is invalid.
type Algorithm uint8

// Algorithms.
const (
	HMACSHA256 Algorithm = 1 // HMAC-SHA-256-128, the default: 16 bytes
	HMACSHA1   Algorithm = 2 // HMAC-SHA1-96 (RFC 4285), only where configured: 12 bytes
)

// Size is the length of the authenticator in bytes.
func (a Algorithm) Size() int {
	switch a {
	case HMACSHA256:
		return 16
	case HMACSHA1:
		return 12
	}
	return 0
}

func (a Algorithm) String() string {
	switch a {
	case HMACSHA256:
		return "hmac-sha-256-128"
	case HMACSHA1:
		return "hmac-sha1-96"
	}
	return fmt.Sprintf("invalid(%d)", uint8(a))
}

// MarshalText gives the form of String.
func (a Algorithm) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the form of String.
func (a *Algorithm) UnmarshalText(b []byte) error {
	for _, v := range []Algorithm{HMACSHA256, HMACSHA1} {
		if v.String() == string(b) {
			*a = v
			return nil
		}
	}
	return fmt.Errorf("wire: algorithm %q, want %s or %s", b, HMACSHA256, HMACSHA1)
}

// Key signs or verifies the messages of one direction between two peers: the
// meaning of one SPI. It is safe for concurrent use and allocates nothing once
// warm.
type Key struct {
	spi uint32
	alg Algorithm

	mu      sync.Mutex // guards what follows: the state of one computation
	mac     hash.Hash
	scratch [sha256.Size]byte
}

// NewKey makes the key of an SPI (MinSPI or above). The secret may have any
// length but 0; it is not kept as such.
func NewKey(spi uint32, alg Algorithm, secret []byte) (*Key, error) {
	switch {
	case spi < MinSPI:
		return nil, fmt.Errorf("wire: SPI %d, want at least %d", spi, MinSPI)
	case len(secret) == 0:
		return nil, fmt.Errorf("wire: SPI %d: empty secret", spi)
	case alg == HMACSHA256:
		return &Key{spi: spi, alg: alg, mac: hmac.New(sha256.New, secret)}, nil
	case alg == HMACSHA1:
		return &Key{spi: spi, alg: alg, mac: hmac.New(sha1.New, secret)}, nil
	}
	return nil, fmt.Errorf("wire: SPI %d: algorithm %s", spi, alg)
}

// SPI gives the key's index.
func (k *Key) SPI() uint32 { return k.spi }

// Algorithm gives the key's algorithm.
func (k *Key) Algorithm() Algorithm { return k.alg }

// AppendSigned writes the message like Append, with an Authentication option at
// its end. careOf is the care-of address that the authenticator covers, of
// either family (see CareOf). The Message itself is not changed and may be
// signed again. One that has an Authentication option already is refused.
func (m *Message) AppendSigned(dst []byte, k *Key, careOf netip.Addr) ([]byte, error) {
	if m.has(OptAuthentication) {
		return dst, &Error{Kind: KindOptionDuplicate, Type: m.Type, Option: OptAuthentication, Offset: len(m.buf)}
	}
	if !careOf.IsValid() {
		return dst, &Error{Kind: KindUnencodable, Type: m.Type, Detail: "no care-of address to sign with"}
	}
	out, err := m.appendBody(dst)
	if err != nil {
		return dst, err
	}
	base, n := len(dst), k.alg.Size()
	out = appendPad(out, -(len(out)-base+authOptStart+n)&7)
	out = append(out, byte(OptAuthentication), byte(authHeadLen+n), authSubtype)
	out = binary.BigEndian.AppendUint32(out, k.spi)
	if err := m.finish(out[base:], n); err != nil {
		return dst, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return append(out, k.sum(out[base:], careOf)...), nil
}

// Verify checks the authenticator of a parsed message. The key is the one that
// the message's SPI selects, careOf what CareOf gives for the packet. The error
// is of KindAuthMissing, KindAuthSubtype, KindAuthSPI or KindAuthMismatch: status
// 146 for a Request.
func (k *Key) Verify(m *Message, careOf netip.Addr) error {
	a, ok := m.Authentication()
	switch {
	case !ok:
		return m.optionError(KindAuthMissing, OptAuthentication, 0, 0, 0)
	case a.Subtype != authSubtype:
		return m.optionError(KindAuthSubtype, OptAuthentication, 0, int(a.Subtype), authSubtype)
	case a.SPI != k.spi:
		return m.optionError(KindAuthSPI, OptAuthentication, 0, int(a.SPI), int(k.spi))
	case len(a.Authenticator) != k.alg.Size() || !careOf.IsValid():
		return m.optionError(KindAuthMismatch, OptAuthentication, 0, 0, 0)
	}
	// Parse saw to it that the option is the last thing in the message.
	covered := m.buf[:len(m.buf)-len(a.Authenticator)]
	k.mu.Lock()
	defer k.mu.Unlock()
	if !hmac.Equal(k.sum(covered, careOf), a.Authenticator) {
		return m.optionError(KindAuthMismatch, OptAuthentication, 0, 0, 0)
	}
	return nil
}

// sum computes the authenticator over care-of address, the home address "::",
// and the message b up to and including the SPI, its checksum taken as zero. The
// result is valid until the lock is released.
func (k *Key) sum(b []byte, careOf netip.Addr) []byte {
	k.mac.Reset()
	a := careOf.As16()
	s := k.scratch[:]
	copy(s, a[:])
	clear(s[16:32]) // home address
	k.mac.Write(s)
	copy(s, b[:checksumOff])
	clear(s[checksumOff : checksumOff+2])
	copy(s[checksumOff+2:], b[checksumOff+2:minLen])
	k.mac.Write(s[:minLen])
	k.mac.Write(b[minLen:])
	return k.mac.Sum(s[:0])[:k.alg.Size()]
}
