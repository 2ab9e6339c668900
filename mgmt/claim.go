package mgmt

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// Claim is something that two places say is theirs: the first one keeps it, and
// the operator is told of the other.
type Claim struct {
	Hypervisor  string        // that claims
	VM          mobility.VMID // for which VM
	Addr        netip.Addr    // that another VM has; invalid = it claims the VM itself
	Owner       mobility.VMID // who has the address, or is VM
	Place       string        // where Owner is served
	Count       int
	First, Last time.Time
}

// String says it for people.
func (x *Claim) String() string {
	if !x.Addr.IsValid() {
		return fmt.Sprintf("%s claims vm %s, which %s serves", x.Hypervisor, x.VM, x.Place)
	}
	return fmt.Sprintf("%s claims %s for vm %s, which belongs to vm %s at %s", x.Hypervisor, x.Addr, x.VM, x.Owner, x.Place)
}

type claimKey struct {
	hypervisor string
	vm         mobility.VMID
	addr       netip.Addr
}

// Bounds of what is remembered of claims; a restart forgets them.
const (
	maxClaims   = 256
	claimMemory = time.Hour // after the last one
)

// claimed raises the alarm. Addr is invalid where the VM itself is claimed.
func (c *Core) claimed(q *question, a netip.Addr, owner mobility.VMID) {
	of := "vm"
	if a.IsValid() {
		of = "address"
	}
	c.emit(Count{"claims", q.host.Name + "/" + of})
	c.forgetClaims()
	k := claimKey{q.host.Name, q.Request.VM, a}
	x := c.claims[k]
	if x == nil {
		if len(c.claims) >= maxClaims {
			return // counted; the log has it
		}
		x = &Claim{Hypervisor: k.hypervisor, VM: k.vm, Addr: a, First: c.now}
		c.claims[k] = x
	}
	x.Owner, x.Place, x.Last = owner, c.placeOf(owner), c.now
	x.Count++
}

func (c *Core) forgetClaims() {
	for k, x := range c.claims {
		if c.now.Sub(x.Last) >= claimMemory {
			delete(c.claims, k)
		}
	}
}

// Claims lists the claims of the last hour, the latest first.
func (c *Core) Claims(now time.Time) (list []Claim) {
	for _, x := range c.claims {
		if now.Sub(x.Last) < claimMemory {
			list = append(list, *x)
		}
	}
	slices.SortFunc(list, func(a, b Claim) int {
		return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.String(), b.String()))
	})
	return list
}

// foreign raises the alarm for a Request by which a hypervisor would take a VM
// from the one that serves it. An anchor that refreshes has not heard of the
// move yet, or has lost what it heard; a ticket that was its own comes late.
func (c *Core) foreign(q *question) {
	r := &q.Request
	late := r.Handoff == mobility.HandoffUnchanged && q.b.anchor(q.host.Name) != nil
	for _, e := range c.epochs[r.VM] {
		m := c.moves[moveID{r.VM, e}]
		late = late || !r.Ticket.IsZero() && m.To == q.host.Name && m.Ticket == r.Ticket
	}
	if !late {
		c.claimed(q, netip.Addr{}, r.VM)
	}
}

// placeOf names who serves a VM and in which data centre, for people.
func (c *Core) placeOf(vm mobility.VMID) string {
	b := c.tx.binding(vm)
	if b == nil || b.Hypervisor == "" {
		return "nobody"
	}
	return c.sited(b.Hypervisor)
}

// sited names a hypervisor and its data centre, where there are several.
func (c *Core) sited(name string) string {
	if h := c.inv.Hypervisors[name]; h != nil && h.Site != "" {
		return fmt.Sprintf("%s (site %s)", name, h.Site)
	}
	return name
}
