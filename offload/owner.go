package offload

import (
	"crypto/sha256"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
)

// Owner is the owner part of a VM's stamps: the first 128 bits of the SHA-256
// of subtype and identifier. It is the same in every program and version.
func Owner(vm mobility.VMID) [16]byte {
	b := make([]byte, 0, 1+mobility.MaxIDLen)
	b = append(append(b, byte(vm.Subtype)), vm.Bytes...)
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

// Stamp is the stamp of one group of a VM.
func Stamp(vm mobility.VMID, epoch mobility.Epoch) hwabstraction.Stamp {
	return hwabstraction.Stamp{Owner: Owner(vm), Epoch: uint32(epoch)}
}

// NodeStamp owns what belongs to the hypervisor itself and to no VM. (No VM has
// an empty identifier.)
func NodeStamp() hwabstraction.Stamp { return Stamp(mobility.VMID{}, 1) }
