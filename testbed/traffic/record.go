package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A record of a TCP connection, big-endian, recordLen bytes:
//
//	0 magic u16 · 2 kind u8 · 3 zero · 4 connection u32 · 8 number u64 · 16.. filling
const (
	recordMagic = 0x5243
	recordLen   = 64
)

// Kinds of record.
const (
	request  = 1
	response = 2
)

// errNumbering says that a connection carried the wrong record: bytes were
// lost, repeated or damaged inside TCP, which must never happen.
var errNumbering = errors.New("traffic: record out of sequence")

func appendRecord(b []byte, kind byte, conn uint32, number uint64) []byte {
	b = binary.BigEndian.AppendUint16(b, recordMagic)
	b = append(b, kind, 0)
	b = binary.BigEndian.AppendUint32(b, conn)
	b = binary.BigEndian.AppendUint64(b, number)
	for i := 16; i < recordLen; i++ {
		b = append(b, byte(number+uint64(i)))
	}
	return b
}

// numbering checks that requests and responses each come in sequence.
type numbering struct {
	conn uint32
	next [3]uint64 // by kind
}

func (n *numbering) check(b []byte) (kind byte, number uint64, err error) {
	kind = b[2]
	number = binary.BigEndian.Uint64(b[8:])
	if binary.BigEndian.Uint16(b) != recordMagic || kind != request && kind != response || binary.BigEndian.Uint32(b[4:]) != n.conn {
		return 0, 0, fmt.Errorf("%w: connection %d: not a record of it: % x", errNumbering, n.conn, b[:16])
	}
	if number != n.next[kind] {
		return 0, 0, fmt.Errorf("%w: connection %d: number %d, want %d", errNumbering, n.conn, number, n.next[kind])
	}
	n.next[kind]++
	return kind, number, nil
}
