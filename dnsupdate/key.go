package dnsupdate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/miekg/dns"
)

// MinSecret is the shortest TSIG secret accepted, in bytes: the output of
// HMAC-SHA-256 (RFC 8945 section 6 asks for no less than the digest).
const MinSecret = 32

var (
	// ErrKeyFile is wrapped by every error about a key file.
	ErrKeyFile = errors.New("dnsupdate: key file")
	// ErrSIG0 says that a file holds a SIG(0) key pair. BIND 9.18 refuses
	// SIG(0) and so do we.
	ErrSIG0 = errors.New("SIG(0) keys are not supported, make a TSIG key with tsig-keygen")
)

// Key is a TSIG key (RFC 8945). It prints itself as its name, never its secret,
// and cannot be marshalled.
type Key struct {
	name      string
	algorithm string // as on the wire, "hmac-sha256."
	secret    []byte
}

// NewKey makes a key of its name, one of hmac-sha256, hmac-sha384 and
// hmac-sha512, and at least MinSecret bytes.
func NewKey(name, algorithm string, secret []byte) (Key, error) {
	k := Key{name: canonical(name), algorithm: canonical(algorithm), secret: secret}
	if _, ok := dns.IsDomainName(k.name); !ok || name == "" {
		return Key{}, fmt.Errorf("key name %q is not a domain name", name)
	}
	switch k.algorithm {
	case dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512:
	case "hmac-md5.", dns.HmacMD5, dns.HmacSHA1, dns.HmacSHA224:
		return Key{}, fmt.Errorf("key %q: %s is too weak, want hmac-sha256, hmac-sha384 or hmac-sha512", name, algorithm)
	default:
		return Key{}, fmt.Errorf("key %q: unknown algorithm %q, want hmac-sha256, hmac-sha384 or hmac-sha512", name, algorithm)
	}
	if len(secret) < MinSecret {
		return Key{}, fmt.Errorf("key %q: a secret of %d bytes is too short, want at least %d", name, len(secret), MinSecret)
	}
	return k, nil
}

// Name is the key's name as servers know it, with the final dot.
func (k Key) Name() string { return k.name }

func (k Key) String() string { return k.name }

// GoString hides the secret from %#v.
func (k Key) GoString() string { return "dnsupdate.Key(" + k.name + ")" }

// LoadKeys reads TSIG keys from files in the form that BIND includes and
// tsig-keygen prints, in order: the first is used, the next are tried when a
// server does not take it, which is how a key is rolled. A file must be regular,
// belong to root or to this process's user, and be closed to everybody else
// (0600 or 0400).
func LoadKeys(paths ...string) ([]Key, error) {
	var keys []Key
	for _, path := range paths {
		k, err := loadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%w %s: %w", ErrKeyFile, path, err)
		}
		keys = append(keys, k...)
	}
	return keys, nil
}

// maxKeyFile bounds what is read of a key file.
const maxKeyFile = 64 << 10

func loadFile(path string) ([]Key, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	if err := checkFile(f); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	return parseKeys(b)
}

// checkFile looks at the open file, so that it cannot be swapped afterwards.
func checkFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("mode %#o lets others at it, want 0600", info.Mode().Perm())
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d, want root or %d", st.Uid, os.Geteuid())
	}
	return nil
}
