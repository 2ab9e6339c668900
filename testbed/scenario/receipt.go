package scenario

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"path/filepath"
	"time"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt/server"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/topology"
)

// Receipt is the management node's signed record of one move.
type Receipt struct {
	*v1.Receipt
	// Verified: the signature is by the management node's own key, which the lab
	// reads from its state directory.
	Verified bool
}

func (r *Receipt) verify(dc *DataCentre) error {
	key, err := server.LoadKey(filepath.Join(dc.Lab.Node(topology.Mgmt).Dir, "state", "receipt.key"))
	if err != nil {
		return err
	}
	if !ed25519.Verify(key.Public().(ed25519.PublicKey), r.Signed, r.Signature) {
		return fmt.Errorf("the signature of the receipt of epoch %d is not that of the management node", r.Move.Epoch)
	}
	r.Verified = true
	return nil
}

// holder is what one hypervisor reported; nil if it did not.
func (r *Receipt) holder(name string) *v1.HolderReport {
	for _, h := range r.Holders {
		if h.Hypervisor == name {
			return h
		}
	}
	return nil
}

// phase is when the management node noted a phase; 0 = never.
func (r *Receipt) phase(name string) int64 {
	for _, p := range r.Move.Phases {
		if p.Name == name {
			return p.AtNs
		}
	}
	return 0
}

// fill puts what the agents counted into a move's figures.
func (r *Receipt) fill(x *result.Move) {
	if h := r.holder(x.From); h != nil {
		x.Redirect.Placement = h.Placement
		if at := r.phase("committed"); h.DrainedNs != 0 && at != 0 {
			d := result.Millis(h.DrainedNs - at)
			x.Redirect.Drained = &d
		}
	}
	if h := r.holder(x.To); h != nil {
		held := result.Millis(h.MaxHoldNs)
		x.Hold.Packets, x.Hold.Max = &h.HeldPackets, &held
	}
}

// Print shows what the move cost, in a few lines.
func (r *Receipt) Print(w io.Writer) {
	m := r.Move
	signed := "NOT signed by the management node"
	if r.Verified {
		signed = "signed by the management node"
	}
	fmt.Fprintf(w, "receipt of epoch %d: %s, %s -> %s (%s, addresses %s, %s, new connections: %s), %s; %s\n",
		m.Epoch, m.Vm, m.From, m.To, m.Mode, m.Addresses, m.Redirect, m.NewConnections, m.State, signed)
	fmt.Fprint(w, "  signalling   ")
	for i, p := range m.Phases {
		if i > 0 {
			fmt.Fprintf(w, ", %s", span(p.AtNs-m.Phases[0].AtNs))
		}
		fmt.Fprintf(w, " %s", p.Name)
	}
	fmt.Fprintln(w)
	for _, p := range m.Proofs {
		fmt.Fprintf(w, "  proof        %s\n", proofLine(p))
	}
	if h := r.holder(m.From); h != nil {
		fmt.Fprintf(w, "  source       redirect armed in %v (%s): %d packets, %d bytes%s\n", time.Duration(h.ArmTookNs), h.Placement,
			h.RedirectedPackets, h.RedirectedBytes, drained(r, h))
	}
	if h := r.holder(m.To); h != nil {
		fmt.Fprintf(w, "  destination  held %d packets, the longest for %s, %d too many\n", h.HeldPackets, span(h.MaxHoldNs), h.HoldDrops)
	}
	if e := r.Endpoints; e != nil {
		fmt.Fprintf(w, "  endpoints    %d sent, %d lost, %d duplicated, %d reordered; silent for %s; %d of %d connections alive (counted by %s)\n",
			e.Sent, e.Lost, e.Duplicated, e.Reordered, span(e.BlackoutNs), e.Survived, e.Connections, e.CountedBy)
	}
	r.printNames(w)
}

// proofLine is one proof: of what, and how long it took.
func proofLine(p *v1.Proof) string {
	text := fmt.Sprintf("%-8s %s: %s -> %s, %s", p.Kind, p.Address, p.From, p.To, p.State)
	if p.TookNs != 0 {
		text += " after " + span(p.TookNs)
	}
	if p.Detail != "" {
		text += " (" + p.Detail + ")"
	}
	return text
}

func drained(r *Receipt, h *v1.HolderReport) string {
	if at := r.phase("committed"); h.DrainedNs != 0 && at != 0 {
		return ", drained after " + span(h.DrainedNs-at)
	}
	return ""
}

func span(ns int64) string { return time.Duration(ns).Round(10 * time.Microsecond).String() }
