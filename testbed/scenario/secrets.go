package scenario

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// pairKeys are the keys between the management node and one peer: one SPI for
// each direction.
type pairKeys struct {
	ToPeer, ToMgmt uint32
	Secret         string // hexadecimal
}

// keysFor derives a peer's keys from its place in the plan and the seed, so
// that a run can be repeated. Lab keys protect nothing.
func keysFor(index int, peer string, seed uint64) pairKeys {
	sum := sha256.Sum256(fmt.Appendf(nil, "dpmip lab %d %s", seed, peer))
	return pairKeys{ToPeer: uint32(1000 + 2*index), ToMgmt: uint32(1001 + 2*index), Secret: hex.EncodeToString(sum[:])}
}
