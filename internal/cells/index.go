package cells

// index finds the head cell of a key: open addressing with linear probing, a
// slot being hash << 32 | head cell + 1, or 0. A slot's home follows from its
// hash, so that deletion closes gaps without reading cells. There is always an
// empty slot, because there are more slots than cells.
type index struct {
	slots []uint64
}

func (x *index) home(hash uint32) int { return int(uint64(hash) * uint64(len(x.slots)) >> 32) }

func (x *index) next(i int) int {
	if i++; i < len(x.slots) {
		return i
	}
	return 0
}

// find gives the slot whose hash fits and whose head cell match accepts, or
// the empty slot where the key belongs.
func (x *index) find(hash uint32, match func(head uint32) bool) (slot int, found bool) {
	i := x.home(hash)
	for ; x.slots[i] != 0; i = x.next(i) {
		if s := x.slots[i]; uint32(s>>32) == hash && match(uint32(s)-1) {
			return i, true
		}
	}
	return i, false
}

func (x *index) set(slot int, hash, head uint32) { x.slots[slot] = uint64(hash)<<32 | uint64(head+1) }

func (x *index) head(slot int) uint32 { return uint32(x.slots[slot]) - 1 }

// remove empties a slot and moves later ones of its cluster back, so that every
// slot stays reachable from its home.
func (x *index) remove(slot int) {
	for i := x.next(slot); x.slots[i] != 0; i = x.next(i) {
		home := x.home(uint32(x.slots[i] >> 32))
		reachable := slot < home && home <= i // home lies cyclically in (slot, i]
		if slot > i {
			reachable = slot < home || home <= i
		}
		if !reachable {
			x.slots[slot] = x.slots[i]
			slot = i
		}
	}
	x.slots[slot] = 0
}
