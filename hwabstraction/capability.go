package hwabstraction

import (
	"context"
	"net/netip"
)

// Feature is something a device may be able to do.
type Feature string

// Features that callers ask for.
const (
	FeatureRedirect  Feature = "redirect"  // rewrite and redirect at the source
	FeatureHold      Feature = "hold"      // keep packets in order without a process
	FeatureConntrack Feature = "conntrack" // tell established flows from new ones
	FeatureReject    Feature = "reject"
	FeatureTrap      Feature = "trap"
	FeatureOffload   Feature = "offload" // rules may sit in hardware
	FeatureTCX       Feature = "tcx"
)

// Answer is what a probe found: yes, no, or it could not tell.
type Answer uint8

// Answers. The zero Answer is "could not tell".
const (
	Unknown Answer = iota
	Yes
	No
)

func (a Answer) String() string { return [...]string{"unknown", "yes", "no"}[a] }

// Capability is the answer for one feature and its reason.
type Capability struct {
	Feature Feature
	Answer  Answer
	Reason  string // why not, or how it was found out; for people
}

// Capabilities is what a device can do, and how much of it.
type Capabilities struct {
	Backend  string // "software", "switchdev", ...
	Features []Capability
	MaxRules int // of the dst table; 0 = not known
	MaxFlows int
}

// Has reports whether the feature was found present.
func (c Capabilities) Has(f Feature) bool {
	for _, x := range c.Features {
		if x.Feature == f {
			return x.Answer == Yes
		}
	}
	return false
}

// Endpoint is an address with a port (or ICMP identifier); 0 where the
// protocol has none.
type Endpoint struct {
	Addr netip.Addr
	Port uint16
}

// FlowSource tells the flows of a VM as the device or kernel has seen them.
type FlowSource interface {
	// Flows lists the flows in which one of addrs takes part. It reads the
	// kernel (or the card), may take milliseconds, and is bounded by ctx.
	Flows(ctx context.Context, addrs []netip.Addr) ([]Flow, error)
}
