package kernelbtf

import (
	"sync"
	"weak"

	"github.com/cilium/ebpf/btf"
)

var (
	mu     sync.Mutex // held during each use
	shared weak.Pointer[btf.Cache]
)

// Use gives f the kernel's types, decoded at their first use: that takes tens of
// milliseconds and some megabytes, and an agent has several uses. They are
// shared from use to use until the collector comes; then the memory is given
// back. f must not keep them: uses follow one another, because ebpf v0.22 reads
// a module's types in the kernel's without the kernel's lock (btf/unmarshal.go,
// inflateType), so that two loads at once spoil each other's programs. A module
// that is loaded later is not in a cache made before.
func Use(f func(types *btf.Cache) error) error {
	mu.Lock()
	defer mu.Unlock()
	c := shared.Value()
	if c == nil {
		c = btf.NewCache()
		shared = weak.Make(c)
	}
	return f(c)
}
