package agent

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/internal/probe"
)

// trapRate is how many probes a second an address may have: each of a few
// senders repeats its own at most every 5 ms.
const trapRate = 2000

// Trap has probes to the address given to this process (or, off, go on as
// before): whatever else comes for it is not touched. It is for the goroutine
// of Do.
func (h *Hands) Trap(ctx context.Context, a netip.Addr, on bool) error {
	s := trapStamp(a)
	if !on {
		_ = h.Reconciler.SetDesired(s, nil) // its one epoch cannot be stale
		h.Reconciler.Sync(ctx)
		return nil
	}
	r := hwabstraction.Trap{Stamp: s, Address: a, Protocol: probe.Protocol, DstPort: probe.Port, Rate: trapRate}
	if err := h.Reconciler.SetDesired(s, []hwabstraction.Rule{r}); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	h.Reconciler.Sync(ctx)
	return h.outcome(Apply{UpTo: s, Rules: []hwabstraction.Rule{r}})
}

// trapStamp owns the trap of an address: it is no VM's.
func trapStamp(a netip.Addr) hwabstraction.Stamp {
	b := a.As16()
	sum := sha256.Sum256(append([]byte("trap"), b[:]...))
	return hwabstraction.Stamp{Owner: [16]byte(sum[:16]), Epoch: 1}
}
