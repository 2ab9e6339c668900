package wire

import (
	"encoding/binary"
	"net/netip"
)

// Checksum computes the checksum of the message b sent from src to dst, taking
// the field itself as zero (RFC 6275 section 6.1.1): over a pseudo header of
// source, destination, length and next header 135, then the message. Both
// addresses are IPv6; a valid address of the other family counts as mapped.
func Checksum(b []byte, src, dst netip.Addr) uint16 {
	s, d := src.As16(), dst.As16()
	sum := sumWords(s[:]) + sumWords(d[:]) + uint64(len(b)) + Protocol + sumWords(b)
	if len(b) >= checksumOff+2 {
		sum -= uint64(binary.BigEndian.Uint16(b[checksumOff:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func sumWords(b []byte) uint64 {
	var sum uint64
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b)
		sum += v>>48 + v>>32&0xffff + v>>16&0xffff + v&0xffff
		b = b[8:]
	}
	for len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

// SetChecksum fills the checksum field of an encoded message. Not needed on a
// raw socket, where the kernel does it, nor over UDP, where the field is 0.
func SetChecksum(b []byte, src, dst netip.Addr) {
	binary.BigEndian.PutUint16(b[checksumOff:], Checksum(b, src, dst))
}

// VerifyChecksum checks the field of an encoded message; the error is of
// KindChecksum. Over UDP any value is accepted: do not call it there.
func VerifyChecksum(b []byte, src, dst netip.Addr) error {
	if len(b) < minLen {
		return &Error{Kind: KindShortMessage, Got: len(b), Want: minLen}
	}
	got, want := binary.BigEndian.Uint16(b[checksumOff:]), Checksum(b, src, dst)
	if got != want {
		return &Error{Kind: KindChecksum, Type: Type(b[2]), Got: int(got), Want: int(want)}
	}
	return nil
}
