package haltest

import (
	"net/netip"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
)

// MAC is an Ethernet address.
type MAC = [6]byte

// Port is one port of the device and what is plugged into it.
type Port struct {
	Name string
	MAC  MAC // the device's side, when the rig was made
	Far  MAC // the other side: the fabric's next hop, or the VM
}

// World is what surrounds a device: wires with something at their far end. It
// belongs to the test's goroutine.
type World interface {
	// Fabric is the port towards the fabric.
	Fabric() Port
	// VMs are the ports of VMs, at least two, each with a VM's MAC at its end.
	VMs() []Port
	// Send puts one Ethernet frame on the wire of a port, towards the device.
	Send(t testing.TB, port string, frame []byte)
	// Seen returns the frames for which match holds that left by the port
	// since the last call, in order, and forgets the others. It waits, bounded,
	// until there are n of them; then it waits until everything sent before has
	// gone its way, so that an n of 0 can tell that nothing came.
	Seen(t testing.TB, port string, n int, match func(frame []byte) bool) [][]byte
}

// Rig is a device in a world. Everything in it ends with the test.
type Rig struct {
	Device hwabstraction.Device
	World  World
	// Reopen lets go of the present device as a killed process would, without
	// Close, opens the same card anew and returns the new device.
	Reopen func(t testing.TB) hwabstraction.Device
}

// Env is what NewNamespaceRig has prepared for a backend: a hypervisor's
// namespace as its administrator would set it up. Forwarding is on in both
// families, rp_filter is off, the fabric port has addresses, default routes and
// permanent neighbours for their gateways. VM ports are up and bare.
type Env struct {
	NetNS    int      // descriptor of the hypervisor's namespace, valid until the test ends
	Fabric   string   // name of the fabric port
	VMPorts  []string // names of the VM ports
	StateDir string   // an empty directory of its own, outlives each device
	BPFFS    string   // a bpf file system of its own, below StateDir
	// Do runs f on a thread inside the namespace.
	Do func(f func() error) error
}

// Addresses of a rig. The fabric's routers are the default gateways; everything
// below that is not the hypervisor's own lies behind them.
var (
	HypervisorAddr4 = netip.MustParsePrefix("192.0.2.1/24")
	HypervisorAddr6 = netip.MustParsePrefix("2001:db8:f::1/64")
	FabricGateway4  = netip.MustParseAddr("192.0.2.254")
	FabricGateway6  = netip.MustParseAddr("2001:db8:f::fe")
)
