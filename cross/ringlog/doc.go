// Package ringlog keeps the last bytes of a log in a file of fixed size, so that
// a card without a disk never fills up: a header that counts all bytes ever
// written, and a ring that they are written into.
//
//	"dpmiplog" | bytes ever written, u64 little-endian | the ring
package ringlog
