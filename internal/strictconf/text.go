package strictconf

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Duration is a time.Duration written as "20ms", "1.5s", "10m"; never negative.
type Duration time.Duration

// D converts to the standard type.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText gives the form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads Go's duration syntax.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration (want for example \"20ms\", \"1.5s\", \"10m\")", b)
	}
	*d = Duration(v)
	return nil
}

// Prefix is a netip.Prefix without bits after its length.
type Prefix struct{ netip.Prefix }

// UnmarshalText reads "2001:db8:a::/64" or "10.0.0.0/24".
func (p *Prefix) UnmarshalText(b []byte) error {
	v, err := netip.ParsePrefix(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a prefix (want for example \"2001:db8:a::/64\")", b)
	}
	if v.Masked() != v {
		return fmt.Errorf("%s has bits after its length (want %s)", v, v.Masked())
	}
	p.Prefix = v
	return nil
}

// Addr is a netip.Addr without a zone and never IPv4-mapped.
type Addr struct{ netip.Addr }

// UnmarshalText reads an IPv6 or IPv4 address.
func (a *Addr) UnmarshalText(b []byte) error {
	v, err := netip.ParseAddr(string(b))
	if err != nil || v.Zone() != "" || v.Is4In6() {
		return fmt.Errorf("%q is not an address", b)
	}
	a.Addr = v
	return nil
}

// Path is a file or folder; a relative one is taken from the folder of the
// configuration file, so that a configuration can be moved as a whole.
type Path string

func (p Path) String() string { return string(p) }

// UnmarshalText takes any text that is not empty.
func (p *Path) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("is empty, want a path")
	}
	*p = Path(b)
	return nil
}

func (p *Path) resolve(dir string) error {
	if !filepath.IsAbs(string(*p)) {
		*p = Path(filepath.Join(dir, string(*p)))
	}
	return nil
}

// MinKey is the shortest key accepted, in bytes.
const MinKey = 16

// Key is a shared secret: "hex:00112233..." inline, or "file:NAME" for a file
// that holds hexadecimal digits and that only its owner may read. It prints
// itself as "key", never its bytes.
type Key struct {
	file  string
	bytes []byte
}

// NewKey wraps bytes; for tests and programs that make keys.
func NewKey(b []byte) Key { return Key{bytes: b} }

// Bytes is the secret; the caller must not change it.
func (k Key) Bytes() []byte { return k.bytes }

// IsZero reports whether no key is given.
func (k Key) IsZero() bool { return len(k.bytes) == 0 }

func (k Key) String() string { return "key" }

// GoString hides the secret from %#v.
func (k Key) GoString() string { return "key" }

// UnmarshalText reads the two forms.
func (k *Key) UnmarshalText(b []byte) error {
	s := string(b)
	if name, ok := strings.CutPrefix(s, "file:"); ok && name != "" {
		k.file = name
		return nil
	}
	digits, ok := strings.CutPrefix(s, "hex:")
	if !ok {
		return fmt.Errorf("want a key as \"hex:DIGITS\" or \"file:NAME\"")
	}
	return k.digits(digits)
}

func (k *Key) resolve(dir string) error {
	if k.file == "" {
		return nil
	}
	name := k.file
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("key file %s: mode %#o lets others read it, want 0600", name, info.Mode().Perm())
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	return k.digits(strings.TrimSpace(string(b)))
}

func (k *Key) digits(s string) error {
	b, err := hex.DecodeString(s)
	switch {
	case err != nil:
		return fmt.Errorf("a key must be hexadecimal digits")
	case len(b) < MinKey:
		return fmt.Errorf("a key of %d bytes is too short, want at least %d", len(b), MinKey)
	}
	k.bytes = b
	return nil
}
