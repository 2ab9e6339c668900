package mgmt

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility"
)

// Stages of what the DNS is told about a VM.
const (
	NamesPublish  = "publish"     // the VM's addresses: at first, after a COMMIT, after a change of its services
	NamesLower    = "lower_ttl"   // a renumbering move is being prepared
	NamesRestore  = "restore_ttl" // it has drained or was aborted
	NamesForget   = "forget"      // old addresses are out of quarantine
	NamesWithdraw = "withdraw"    // nobody serves the VM
	NamesRetract  = "retract"     // services that the inventory no longer has
	NamesRemove   = "remove"      // the VM has no services, or is gone for good
)

// NamesRecord is what the DNS is to say about one VM. It is made durable with
// the binding that it follows from, so that a crash in the middle resumes. It is
// never changed once it is in the cache; it is replaced.
type NamesRecord struct {
	State   dnsupdate.State `json:"state"`
	Stage   string          `json:"stage"`
	Move    mobility.Epoch  `json:"move,omitempty"` // the move whose receipt tells of it
	Ordered time.Time       `json:"ordered"`
	// Settled: every zone has ended, well or not; Trouble says how it has not.
	Settled bool   `json:"settled,omitempty"`
	Trouble string `json:"trouble,omitempty"`
}

// PublishNames asks that the DNS be brought to the record's state, which is
// durable; NamesReported tells what came of it. The same one may be asked for
// again, after a restart.
type PublishNames struct {
	Record *NamesRecord
	// Hypervisor serves the VM; "" = none does.
	Hypervisor string
}

func (PublishNames) effect() {}

// defaultMoveTTL is the TTL of addresses while a renumbering move is under way.
const defaultMoveTTL = 5 * time.Second

// names looks at what the DNS should say about the VM now and, where that is
// something else than what was last ordered, orders it.
func (c *Core) names(vm mobility.VMID) {
	v := c.inv.VMs[vm]
	last := c.namesOf[vm]
	if last == nil && (v == nil || v.Services == nil) || last != nil && last.busyRetracting() {
		return
	}
	b := c.tx.binding(vm)
	if next := c.nextNames(vm, last, v, b); next != nil {
		next.Ordered = c.now
		c.setNames(vm, next)
		c.publishNames(next)
	}
}

// resumeNames gives every order out again that was not known to have ended, and
// looks whether the inventory has changed meanwhile.
func (c *Core) resumeNames() {
	for _, vm := range c.named() {
		if r := c.namesOf[vm]; r != nil && !r.Settled {
			c.publishNames(r)
		}
	}
	c.renameAll()
}

// renameAll looks at every VM that has or had services. What ended in trouble is
// tried again: the operator may have brought a zone or a key.
func (c *Core) renameAll() {
	for _, vm := range c.named() {
		before := c.namesOf[vm]
		c.names(vm)
		if r := c.namesOf[vm]; r != nil && r == before && r.Settled && r.Trouble != "" {
			again := *r
			again.Settled = false
			c.setNames(vm, &again)
			c.publishNames(&again)
		}
	}
}

// named lists the VMs that have or had services, in order.
func (c *Core) named() []mobility.VMID {
	list := slices.Collect(maps.Keys(c.namesOf))
	for vm, v := range c.inv.VMs {
		if v.Services != nil && c.namesOf[vm] == nil {
			list = append(list, vm)
		}
	}
	slices.SortFunc(list, func(a, b mobility.VMID) int { return strings.Compare(a.String(), b.String()) })
	return list
}

// busyRetracting: the next state has other names, and must wait.
func (r *NamesRecord) busyRetracting() bool { return r.Stage == NamesRetract && !r.Settled }

// publishNames gives the order out once this Step is durable.
func (c *Core) publishNames(r *NamesRecord) {
	hypervisor := ""
	if b := c.tx.binding(r.State.VM); b != nil {
		hypervisor = b.Hypervisor
	}
	c.tx.then = append(c.tx.then, func() { c.emit(PublishNames{r, hypervisor}) })
}

// setNames makes the record durable with this Step; nil deletes it.
func (c *Core) setNames(vm mobility.VMID, r *NamesRecord) {
	old := c.namesOf[vm]
	set := func(r *NamesRecord) {
		if r == nil {
			delete(c.namesOf, vm)
			return
		}
		c.namesOf[vm] = r
	}
	set(r)
	c.tx.undo = append(c.tx.undo, func() { set(old) })
	if r == nil {
		c.tx.writes = append(c.tx.writes, store.Write{Kind: store.Names, Key: bindingKey(vm)})
		return
	}
	c.tx.writes = append(c.tx.writes, encode(store.Names, bindingKey(vm), r))
}

// nextNames is the record that should follow the last one; nil = none.
func (c *Core) nextNames(vm mobility.VMID, last *NamesRecord, v *inventory.VM, b *Binding) *NamesRecord {
	services := servicesOf(v)
	switch {
	case last == nil && (b == nil || len(b.Slots) == 0 || b.Hypervisor == ""):
		return nil
	case last == nil:
		s := dnsupdate.State{VM: vm, Services: *services, Version: dnsupdate.Version{Epoch: b.Epoch, Step: 1}, Published: slices.Clone(b.Slots)}
		return &NamesRecord{State: s, Stage: NamesPublish, Move: c.moveOfNames(b)}
	case b == nil || services == nil:
		return c.removeNames(last)
	case len(last.State.Published) > 0 && !keeps(last.State.Services, *services):
		r := c.follow(last, b, NamesRetract)
		r.State = withVersion(last.State.Moved(r.State.Version.Epoch), r.State.Version)
		return r
	}
	return c.changeNames(last, *services, b)
}

func servicesOf(v *inventory.VM) *dnsupdate.Services {
	if v == nil {
		return nil
	}
	return v.Services
}

// removeNames takes a VM out of the DNS for good.
func (c *Core) removeNames(last *NamesRecord) *NamesRecord {
	if last.State.Final {
		return nil
	}
	return &NamesRecord{State: last.State.Removed(), Stage: NamesRemove, Move: last.Move}
}

// changeNames compares the last order with the binding.
func (c *Core) changeNames(last *NamesRecord, services dnsupdate.Services, b *Binding) *NamesRecord {
	published := b.Slots
	if b.Hypervisor == "" || c.stoodInFor(b) {
		published = nil
	}
	ttl := c.namesTTL(services, b)
	forget := slices.DeleteFunc(slices.Clone(last.State.Withdrawn), func(a netip.Addr) bool { return b.remembers(a) })
	stage := ""
	switch {
	case last.State.Final || !sameSet(last.State.Published, published):
		stage = NamesPublish
		if len(published) == 0 {
			stage = NamesWithdraw
		}
	case !reflect.DeepEqual(last.State.Services, services):
		stage = NamesPublish
	case last.State.TTL != ttl && ttl != 0:
		stage = NamesLower
	case last.State.TTL != ttl:
		stage = NamesRestore
	case len(forget) > 0:
		stage = NamesForget
	default:
		return nil
	}
	r := c.follow(last, b, stage)
	s := last.State
	s.Final, s.Services = false, services
	s = s.Moved(r.State.Version.Epoch, published...)
	if stage == NamesForget {
		s = s.Forget(forget...)
	} else {
		s.Forgotten = nil
	}
	s.TTL = ttl
	r.State = withVersion(s, r.State.Version)
	return r
}

// follow is a record with the version after the last one.
func (c *Core) follow(last *NamesRecord, b *Binding, stage string) *NamesRecord {
	v := last.State.Version
	if b.Epoch > v.Epoch {
		v = dnsupdate.Version{Epoch: b.Epoch, Step: 1}
	} else {
		v.Step++
	}
	r := &NamesRecord{State: dnsupdate.State{Version: v}, Stage: stage, Move: c.moveOfNames(b)}
	if r.Move == 0 { // what follows a move that is over belongs to it
		r.Move = last.Move
	}
	return r
}

// moveOfNames is the move that is under way.
func (c *Core) moveOfNames(b *Binding) mobility.Epoch {
	if b.Open != 0 {
		return b.Open
	}
	return b.Last
}

// namesTTL is the TTL of addresses while a renumbering move is under way; 0 =
// that of the service list.
func (c *Core) namesTTL(s dnsupdate.Services, b *Binding) strictconf.Duration {
	listed := s.TTL.D()
	if listed == 0 {
		listed = dnsupdate.DefaultTTL
	}
	for _, e := range []mobility.Epoch{b.Open, b.Last} {
		m := c.tx.move(b.VM, e)
		if m != nil && m.Options.Addresses == mobility.AddressesRenumber && c.cfg.NamesTTL < listed {
			return strictconf.Duration(c.cfg.NamesTTL)
		}
	}
	return 0
}

// remembers reports whether an address that the VM had may still lead to it, or
// is in quarantine.
func (b *Binding) remembers(a netip.Addr) bool {
	return b.has(a) || slices.ContainsFunc(b.Quarantine, func(q Quarantined) bool { return q.Addr == a })
}

func withVersion(s dnsupdate.State, v dnsupdate.Version) dnsupdate.State {
	s.Version = v
	return s
}

// keeps reports whether nothing of the old list is missing in the new one:
// otherwise what is missing has to be taken out first.
func keeps(old, now dnsupdate.Services) bool {
	for _, n := range old.Names {
		if !slices.ContainsFunc(now.Names, func(o dnsupdate.Name) bool { return strings.EqualFold(o.Name, n.Name) && o.Shared == n.Shared }) {
			return false
		}
	}
	for _, s := range old.SRV {
		if !slices.Contains(now.SRV, s) {
			return false
		}
	}
	return old.Reverse == "" || strings.EqualFold(old.Reverse, now.Reverse)
}
