// Package selector is the lab's switch: it makes a VM a guest that is honestly
// in one place at a time. A VM has a single port; the switch connects it to one
// hypervisor's port or to none. What reaches a port where the VM is not is lost
// and counted; what a paused VM's kernel emits waits, in order, and leaves at
// the place where the VM goes on.
package selector
