// Package cells is a map from short keys to small values that lives entirely
// inside a given piece of memory and is whole after a crash at any instruction.
//
// The Binding Update List and the rule journal are kept in it, in NIC memory.
//
// # Layout
//
//	header (128 bytes) | bitmap | index | cells of 128 bytes each
//
// An entry is a chain of cells. The first, its head, is laid out as
//
//	 0 commit      u64: mark << 32 | CRC-32C, or 0: not an entry
//	 8 next        u32: number of the following cell + 1, 0 at the end
//	12 key length  u16
//	14 length      u16, key and value together
//	16 generation  u64
//	24 key, value  104 bytes
//
// and every further cell as
//
//	 0 zero        u64
//	 8 next        u32
//	12 value       116 bytes
//
// The checksum covers everything but the commit word itself and the unused
// bytes at the end, and is bound to the number of the head cell.
//
// # Crash consistency
//
// The commit words are the only truth. An entry is never changed in place: Put
// writes a whole new chain into free cells, and then publishes it by the one
// atomic store of its commit word; then the commit word of the chain that it
// replaces is set to 0. A crash between these two stores leaves both chains,
// and the higher generation wins. Delete is one store of 0. Bitmap and index
// are only hints that Open builds anew.
//
// # Placement
//
// The head of a key is put into one of two neighbouring cells that follow from
// its hash, its home, if one of them is free, and otherwise as close behind it as
// possible. A lookup reads the home first and the index only where that fails:
// in a large area it is the cache misses that cost.
//
// All integers are little-endian, as are the machines this runs on.
package cells
