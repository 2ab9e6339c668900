package mobility

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// IDSubtype says how the bytes of a VM Identifier are to be read
// (RFC 4283 section 3; the numbers are IANA's MN-ID subtypes).
type IDSubtype uint8

// The identifier subtypes that are accepted. NAI is what this system sends.
const (
	IDInvalid IDSubtype = 0
	IDNAI     IDSubtype = 1
	IDEUI48   IDSubtype = 5
	IDEUI64   IDSubtype = 6
	IDDUID    IDSubtype = 8
)

// MaxIDLen is the largest identifier in bytes; a longer one is refused.
const MaxIDLen = 63

// VMID identifies one VM for as long as it exists, wherever it runs. It is
// comparable and is the key of every table. Two identifiers with the same
// bytes but other subtypes are two VMs. The zero VMID is invalid.
type VMID struct {
	Subtype IDSubtype
	// Bytes holds the identifier as it goes on the wire (not always text).
	Bytes string
}

// ErrBadVMID is wrapped by every error of ParseVMID and VMID.Validate.
var ErrBadVMID = errors.New("mobility: bad VM identifier")

// NAI returns the identifier of a network access identifier such as
// "vm1@dc1.example" (RFC 4282). It does not validate; see Validate.
func NAI(s string) VMID { return VMID{Subtype: IDNAI, Bytes: s} }

// ParseVMID reads the text form of an identifier: a plain NAI, or
// "eui48:525400123456", "eui64:..", "duid:.." with hexadecimal bytes.
func ParseVMID(s string) (VMID, error) {
	for prefix, st := range map[string]IDSubtype{"eui48:": IDEUI48, "eui64:": IDEUI64, "duid:": IDDUID} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			b, err := hex.DecodeString(rest)
			if err != nil {
				return VMID{}, fmt.Errorf("%w: %q: %v", ErrBadVMID, s, err)
			}
			id := VMID{Subtype: st, Bytes: string(b)}
			return id, id.Validate()
		}
	}
	id := NAI(s)
	return id, id.Validate()
}

// Validate reports whether the identifier may be used as a key: a known
// subtype, 1 to MaxIDLen bytes, the fixed length of an EUI, printable text
// with at most one "@" for an NAI.
func (v VMID) Validate() error {
	n := len(v.Bytes)
	if n == 0 || n > MaxIDLen {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrBadVMID, n, MaxIDLen)
	}
	switch v.Subtype {
	case IDNAI:
		for _, c := range []byte(v.Bytes) {
			if c <= ' ' || c > '~' {
				return fmt.Errorf("%w: byte %#02x in an NAI", ErrBadVMID, c)
			}
		}
		if strings.Count(v.Bytes, "@") > 1 {
			return fmt.Errorf("%w: %q has two @", ErrBadVMID, v.Bytes)
		}
	case IDEUI48:
		if n != 6 {
			return fmt.Errorf("%w: EUI-48 of %d bytes", ErrBadVMID, n)
		}
	case IDEUI64:
		if n != 8 {
			return fmt.Errorf("%w: EUI-64 of %d bytes", ErrBadVMID, n)
		}
	case IDDUID:
	default:
		return fmt.Errorf("%w: subtype %d", ErrBadVMID, v.Subtype)
	}
	return nil
}

// IsZero reports whether v is the invalid zero identifier.
func (v VMID) IsZero() bool { return v == VMID{} }

// String gives the form that ParseVMID reads.
func (v VMID) String() string {
	switch v.Subtype {
	case IDNAI:
		return v.Bytes
	case IDEUI48:
		return "eui48:" + hex.EncodeToString([]byte(v.Bytes))
	case IDEUI64:
		return "eui64:" + hex.EncodeToString([]byte(v.Bytes))
	case IDDUID:
		return "duid:" + hex.EncodeToString([]byte(v.Bytes))
	}
	return fmt.Sprintf("id%d:%x", v.Subtype, v.Bytes)
}

// MarshalText and UnmarshalText make VMID usable as a JSON or TOML string.
func (v VMID) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads the form of String.
func (v *VMID) UnmarshalText(b []byte) error {
	id, err := ParseVMID(string(b))
	if err != nil {
		return err
	}
	*v = id
	return nil
}
