package switchdev

// ladder is what is asked of the kernel for a VM or a port, the best first.
// Filters that use conntrack stand in the kernel too: what hardware does not
// know yet comes there, to be learned.
func ladder(skipHW bool) []rung {
	if skipHW {
		return []rung{
			{name: "kernel, conntrack", ct: true, skipHW: true},
			{name: "kernel, stateless", skipHW: true},
			{name: "slow path", off: true},
		}
	}
	return []rung{
		{name: "hardware, conntrack", ct: true, hardware: true},
		{name: "hardware, stateless", skipSW: true, hardware: true},
		{name: "kernel, conntrack", ct: true},
		{name: "kernel, stateless"},
		{name: "slow path", off: true},
	}
}
