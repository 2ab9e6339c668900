package cells

import "math/bits"

// bitmap says which cells are in use: a bit each, and a second level with a bit
// for each word that is full, so that a nearly full area is searched quickly.
// It gives out the lowest free cell, which keeps chains together and the memory
// in use warm.
type bitmap struct {
	words, full []uint64 // full: bit w set = words[w] has no free cell
	size        int      // cells
	used        int
	hint        int // no word of full below this one has a free cell
}

// reset marks every cell free, and the bits beyond the last cell used.
func (b *bitmap) reset() {
	clear(b.words)
	clear(b.full)
	b.used, b.hint = 0, 0
	if r := b.size % 64; r != 0 {
		b.words[len(b.words)-1] = ^uint64(0) << r
	}
	if r := len(b.words) % 64; r != 0 {
		b.full[len(b.full)-1] = ^uint64(0) << r
	}
}

func (b *bitmap) free() int { return b.size - b.used }

func (b *bitmap) isUsed(i uint32) bool { return b.words[i/64]>>(i%64)&1 != 0 }

// alloc takes the lowest free cell. The caller has made sure that there is one.
func (b *bitmap) alloc() uint32 {
	for b.full[b.hint] == ^uint64(0) {
		b.hint++
	}
	w := b.hint*64 + bits.TrailingZeros64(^b.full[b.hint])
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
	b.hint = min(b.hint, int(w/64))
	b.used--
}
