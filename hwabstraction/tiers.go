package hwabstraction

import "context"

// Tiered is a Device with a fast path, in hardware where that takes it, in front
// of a slow one. It may be asked while other goroutines use the device.
type Tiered interface {
	// Tiers reads filters and counters from the device: milliseconds.
	Tiers(ctx context.Context) (Tiers, error)
}

// Tiers is how a fast path fares.
type Tiers struct {
	Filters map[string]int    // that take packets, by where they are: hardware, kernel
	Rungs   map[string]int    // VMs and VM ports, by how much of them is fast
	Events  map[string]uint64 // since the device was opened, by a stable snake_case name
	VMs     []Share           // ordered by owner
}

// Share is how many packets of a VM's present rules went which way.
type Share struct {
	Owner      [16]byte
	Fast, Slow uint64
	// Hardware are those of Fast that hardware has counted, as far as its driver
	// tells; filters in the kernel have taken the rest.
	Hardware uint64
}
