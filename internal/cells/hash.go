package cells

import (
	"encoding/binary"
	"math/bits"
)

// hashOf is a seeded hash in the manner of wyhash. It is the same in every
// process, as placement depends on it; whoever chooses keys does not know the
// seed, which is random for each area.
func hashOf(seed uint64, key []byte) uint32 {
	const m1, m2 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db
	le := binary.LittleEndian
	a, b, h := seed^m1, bits.RotateLeft64(seed, 29)^m2, seed+uint64(len(key))*m1
	for ; len(key) >= 16; key = key[16:] {
		h = mix(le.Uint64(key)^a, le.Uint64(key[8:])^b^h)
	}
	switch n := len(key); {
	case n >= 8:
		a, b = a^le.Uint64(key), b^le.Uint64(key[n-8:])
	case n >= 4:
		a, b = a^uint64(le.Uint32(key)), b^uint64(le.Uint32(key[n-4:]))
	case n > 0:
		a ^= uint64(key[0])<<16 | uint64(key[n/2])<<8 | uint64(key[n-1])
	}
	return uint32(mix(mix(a, b^h), m2^seed) >> 32)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
