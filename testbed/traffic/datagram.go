package traffic

import (
	"encoding/binary"
	"time"
)

// A datagram of a stream, big-endian:
//
//	0 magic u32 · 4 stream id u32 · 8 sequence u64 · 16 send time i64 (ns) ·
//	24 direction u8 · 25.. filling: byte i = low byte of (sequence + i)
const (
	datagramMagic = 0x6d6f7665
	headerLen     = 25
)

// Direction says which way a datagram of a stream goes.
type Direction uint8

// Directions.
const (
	AToB Direction = 1
	BToA Direction = 2
)

func (d Direction) String() string {
	switch d {
	case AToB:
		return "a->b"
	case BToA:
		return "b->a"
	}
	return "invalid"
}

// fill writes the whole datagram into b, whose length is the datagram's.
func fill(b []byte, id uint32, dir Direction, seq uint64, now time.Duration) {
	binary.BigEndian.PutUint32(b, datagramMagic)
	binary.BigEndian.PutUint32(b[4:], id)
	binary.BigEndian.PutUint64(b[8:], seq)
	binary.BigEndian.PutUint64(b[16:], uint64(now))
	b[24] = byte(dir)
	for i := headerLen; i < len(b); i++ {
		b[i] = byte(seq + uint64(i))
	}
}

// read takes a datagram apart; ok is false if it is not the stream's or its
// filling is damaged.
func read(b []byte, id uint32, dir Direction) (seq uint64, sent time.Duration, ok bool) {
	if len(b) < headerLen || binary.BigEndian.Uint32(b) != datagramMagic ||
		binary.BigEndian.Uint32(b[4:]) != id || b[24] != byte(dir) {
		return 0, 0, false
	}
	seq = binary.BigEndian.Uint64(b[8:])
	for i := headerLen; i < len(b); i++ {
		if b[i] != byte(seq+uint64(i)) {
			return 0, 0, false
		}
	}
	return seq, time.Duration(binary.BigEndian.Uint64(b[16:])), true
}
