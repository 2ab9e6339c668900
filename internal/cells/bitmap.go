package cells

import "math/bits"

// bitmap says which cells are in use: a bit each, and a second level with a bit
// for each word that is full, so that a nearly full area is searched quickly.
type bitmap struct {
	words, full []uint64 // full: bit w set = words[w] has no free cell
	size        int      // cells
	used        int
}

// reset marks every cell free, and the bits beyond the last cell used.
func (b *bitmap) reset() {
	clear(b.words)
	clear(b.full)
	b.used = 0
	if r := b.size % 64; r != 0 {
		b.words[len(b.words)-1] = ^uint64(0) << r
	}
	if r := len(b.words) % 64; r != 0 {
		b.full[len(b.full)-1] = ^uint64(0) << r
	}
}

func (b *bitmap) free() int { return b.size - b.used }

func (b *bitmap) isUsed(i uint32) bool { return b.words[i/64]>>(i%64)&1 != 0 }

// alloc takes the first free cell at or after i, or the first of all if there
// is none. The caller has made sure that there is one somewhere.
func (b *bitmap) alloc(i uint32) uint32 {
	w := int(i / 64)
	if free := ^b.words[w] >> (i % 64) << (i % 64); free != 0 {
		i = uint32(w*64 + bits.TrailingZeros64(free))
		b.take(i)
		return i
	}
	w++
	if f := w / 64; f < len(b.full) {
		if open := ^b.full[f] >> (w % 64) << (w % 64); open != 0 {
			return b.first(f*64 + bits.TrailingZeros64(open))
		}
	}
	for f := w/64 + 1; ; f++ {
		if f >= len(b.full) {
			f = 0
		}
		if open := ^b.full[f]; open != 0 {
			return b.first(f*64 + bits.TrailingZeros64(open))
		}
	}
}

// first takes the first free cell of a word that has one.
func (b *bitmap) first(w int) uint32 {
	i := uint32(w*64 + bits.TrailingZeros64(^b.words[w]))
	b.take(i)
	return i
}

// take marks a free cell used.
func (b *bitmap) take(i uint32) {
	w := i / 64
	b.words[w] |= 1 << (i % 64)
	if b.words[w] == ^uint64(0) {
		b.full[w/64] |= 1 << (w % 64)
	}
	b.used++
}

// give marks a used cell free.
func (b *bitmap) give(i uint32) {
	w := i / 64
	b.words[w] &^= 1 << (i % 64)
	b.full[w/64] &^= 1 << (w % 64)
	b.used--
}
