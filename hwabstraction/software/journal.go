package software

import "github.com/dpmip/dpmip/hwabstraction"

// Journal keeps what the kernel's route table cannot: who owns a route. Key
// and payload have at most 64 bytes each. It must survive the process; it is
// used by one goroutine at a time. hwabstraction/nicmem has one in NIC memory.
type Journal interface {
	Put(key []byte, s hwabstraction.Stamp, payload []byte) error
	Delete(key []byte) error
	Range(f func(key []byte, s hwabstraction.Stamp, payload []byte) bool)
}
