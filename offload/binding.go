package offload

import (
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
)

// Binding is what a hypervisor means to do for one VM. A VM that never moved
// has Deliver alone; a prepared source has Deliver and Redirect; an anchor has
// Redirect and perhaps Restores; a VM on its way home has all three.
type Binding struct {
	VM       mobility.VMID
	Deliver  *DeliverGroup
	Redirect *RedirectGroup
	Restores []Restore
}

// DeliverGroup brings packets to the VM and lets it send: the rules of one
// stamp, switched on by Activate.
type DeliverGroup struct {
	Epoch mobility.Epoch
	Port  string
	MAC   mobility.MAC
	// Addresses are delivered as they are; the VM may send from them.
	Addresses []netip.Addr
	// Sources are addresses that the VM may send from, and that reach it by its
	// Deliveries only: whoever redirects there judges new connections.
	Sources []netip.Addr
	// Deliveries are delivered with the old address written back.
	Deliveries []mobility.Delivery
	// Hold keeps what arrives for the Deliveries until the group is activated.
	Hold bool
}

// RedirectGroup sends packets on to where the VM is: the rules of one stamp,
// switched on by Arm.
type RedirectGroup struct {
	Epoch    mobility.Epoch
	Pairs    []mobility.Pair
	Locator  netip.Addr // of the hypervisor that the packets go to
	Locator4 netip.Addr // the same for IPv4, where it has one
	New      mobility.NewConnections
	PathMTU  uint16 // 0 = that of the route
}

// Restore is a delivery address of a VM that has left, or whose arrival was
// given up: D is still turned into Old, for stragglers.
type Restore struct {
	Epoch mobility.Epoch // of the group it was installed in
	mobility.Delivery
	Port string
	MAC  mobility.MAC
	Hold bool // as it was installed
}

// newFlows converts the protocol's policy to the device's.
func newFlows(n mobility.NewConnections) hwabstraction.NewFlows {
	switch n {
	case mobility.PolicyDrop:
		return hwabstraction.NewDrop
	case mobility.PolicyReject:
		return hwabstraction.NewReject
	}
	return hwabstraction.NewRedirect
}
