package flower

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Attributes are written and read in place: a batch, and a dump, is thousands of
// filters of thirty attributes each.

// begin writes the head of an attribute whose data follow; end sets its length
// and pads it.
func begin(b []byte, typ uint16) ([]byte, int) {
	b = append(b, 0, 0)
	return binary.NativeEndian.AppendUint16(b, typ), len(b) - 2
}

func beginNested(b []byte, typ uint16) ([]byte, int) { return begin(b, typ|unix.NLA_F_NESTED) }

func end(b []byte, at int) []byte {
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	for (len(b)-at)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendBytes(b []byte, typ uint16, data ...byte) []byte {
	b, at := begin(b, typ)
	return end(append(b, data...), at)
}

func appendUint16(b []byte, typ, v uint16) []byte {
	b, at := begin(b, typ)
	return end(binary.NativeEndian.AppendUint16(b, v), at)
}

func appendUint32(b []byte, typ uint16, v uint32) []byte {
	b, at := begin(b, typ)
	return end(binary.NativeEndian.AppendUint32(b, v), at)
}

// appendText writes a string with the NUL that ends it.
func appendText(b []byte, typ uint16, s string) []byte {
	b, at := begin(b, typ)
	return end(append(append(b, s...), 0), at)
}

// attribute is one that was read; data are a part of what it was read from.
type attribute struct {
	typ  uint16
	data []byte
}

// attributes calls each for every attribute in b until one fails.
func attributes(b []byte, each func(attribute) error) error {
	for len(b) > 0 {
		if len(b) < unix.SizeofNlAttr {
			return fmt.Errorf("%d bytes where an attribute begins", len(b))
		}
		size := int(binary.NativeEndian.Uint16(b))
		a := attribute{typ: binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)}
		if size < unix.SizeofNlAttr || size > len(b) {
			return fmt.Errorf("attribute %d: %d bytes of %d", a.typ, size, len(b))
		}
		a.data = b[unix.SizeofNlAttr:size]
		if err := each(a); err != nil {
			return err
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return nil
}

// read copies a value of a fixed size.
func (a attribute) read(to []byte) error {
	if len(a.data) != len(to) {
		return fmt.Errorf("attribute %d: %d bytes, want %d", a.typ, len(a.data), len(to))
	}
	copy(to, a.data)
	return nil
}

func (a attribute) uint8(to *uint8) error {
	var b [1]byte
	err := a.read(b[:])
	*to = b[0]
	return err
}

func (a attribute) uint16(to *uint16) error {
	var b [2]byte
	err := a.read(b[:])
	*to = binary.NativeEndian.Uint16(b[:])
	return err
}

func (a attribute) uint32(to *uint32) error {
	var b [4]byte
	err := a.read(b[:])
	*to = binary.NativeEndian.Uint32(b[:])
	return err
}

// text is a string without the NUL that ends it.
func (a attribute) text() string {
	b, _, _ := bytes.Cut(a.data, []byte{0})
	return string(b)
}
