package flower

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Attributes are written in place: a batch of thousands of filters is one
// buffer. They are read by github.com/mdlayher/netlink.

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
