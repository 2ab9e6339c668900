package hwabstraction

import "encoding/binary"

// Zone is the conntrack zone of a VM: 1 to 65535, from its owner hash alone, so
// that every process and every backend finds the same. Two VMs in one zone do
// no harm.
func Zone(owner [16]byte) uint16 {
	h := binary.BigEndian.Uint64(owner[:8]) ^ binary.BigEndian.Uint64(owner[8:])
	return uint16(h%65535) + 1
}
