package kernelbtf

import (
	"sync"
	"weak"

	"github.com/cilium/ebpf/btf"
)

var (
	mu     sync.Mutex // guards shared
	shared weak.Pointer[btf.Cache]
)

// Cache gives the kernel's types, decoded at their first use: that takes tens of
// milliseconds and some megabytes, and a starting agent has four uses. All
// callers share one as long as any of them holds it and until the collector
// comes; then the memory is given back. It may be used by several goroutines; a
// module that is loaded later is not in a cache made before.
func Cache() *btf.Cache {
	mu.Lock()
	defer mu.Unlock()
	if c := shared.Value(); c != nil {
		return c
	}
	c := btf.NewCache()
	shared = weak.Make(c)
	return c
}
