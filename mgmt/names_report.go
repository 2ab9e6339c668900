package mgmt

import (
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/mobility"
)

// NamesReported: the zones of an order have ended, or one of them has met a
// failure and is tried again. By names who wrote: "management node" or a
// hypervisor.
type NamesReported struct {
	By  string
	Job dnsupdate.Job
}

// NamesImpossible: an order cannot even be planned; it is not tried again.
type NamesImpossible struct {
	VM      mobility.VMID
	Version dnsupdate.Version
	Reason  string
}

func (NamesReported) event()   {}
func (NamesImpossible) event() {}

// NamesReport is what became of one stage in one zone: the part of a receipt
// that says who served which answer when.
type NamesReport struct {
	Stage     string         `json:"stage"`
	Zone      string         `json:"zone"`
	By        string         `json:"by"`
	Epoch     mobility.Epoch `json:"epoch"` // with Step: the version written beside the names
	Step      uint32         `json:"step"`
	Outcome   string         `json:"outcome"` // dnsupdate.Phase
	Ordered   time.Time      `json:"ordered"`
	Published time.Time      `json:"published,omitzero"` // the primary has it
	Failure   string         `json:"failure,omitempty"`
	Servers   []NamesServer  `json:"servers,omitempty"`
}

// NamesServer is what one server of the zone was seen to answer.
type NamesServer struct {
	Server  string             `json:"server"`
	Serial  uint32             `json:"serial"`
	Seen    time.Time          `json:"seen,omitzero"`
	Missing string             `json:"missing,omitempty"` // what was not seen in time
	Answers []dnsupdate.Answer `json:"answers,omitempty"`
}

// namesReported keeps what became of an order. What an older order met is of no
// interest any more, except to the receipt.
func (c *Core) namesReported(e NamesReported) {
	r := c.namesOf[e.Job.VM]
	if r == nil || r.State.Version != e.Job.Version {
		return
	}
	next := *r
	next.Settled, next.Trouble = e.Job.Final(), ""
	if err := e.Job.Err(); err != nil && (next.Settled || failing(e.Job)) {
		next.Trouble = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	c.settleNames(r, &next)
	m := c.tx.editMove(e.Job.VM, r.Move)
	if m == nil {
		return
	}
	for _, z := range e.Job.Zones {
		m.namesReport(r, e.By, e.Job.Version, z)
	}
}

func failing(j dnsupdate.Job) bool {
	return slices.ContainsFunc(j.Zones, func(z dnsupdate.ZoneJob) bool { return z.Failure != nil && !z.Phase.Final() })
}

// namesImpossible ends an order that names something which nobody here can
// write.
func (c *Core) namesImpossible(e NamesImpossible) {
	r := c.namesOf[e.VM]
	if r == nil || r.State.Version != e.Version {
		return
	}
	next := *r
	next.Settled, next.Trouble = true, e.Reason
	c.settleNames(r, &next)
}

// settleNames replaces the record, and goes on where it was waited for.
func (c *Core) settleNames(old, next *NamesRecord) {
	vm := old.State.VM
	c.tx.fail = append(c.tx.fail, func(error) { c.emit(PublishNames{Record: old}) })
	if next.Trouble != old.Trouble && next.Trouble != "" {
		c.emit(Note{Warning: true, Text: "names: " + next.Trouble, VM: vm, Epoch: next.Move})
	}
	if next.Settled && !old.Settled {
		result := "proved"
		if next.Trouble != "" {
			result = "troubled"
		}
		c.emit(Count{Name: "names", Label: result})
		c.emit(Note{Text: "names: " + next.Stage + " " + result, VM: vm, Epoch: next.Move})
	}
	if next.Settled && next.State.Final && next.Trouble == "" {
		c.setNames(vm, nil)
		return
	}
	c.setNames(vm, next)
	if next.Settled {
		c.names(vm)
	}
}

// namesReport replaces what is known of a stage in a zone.
func (m *Move) namesReport(r *NamesRecord, by string, v dnsupdate.Version, z dnsupdate.ZoneJob) {
	n := NamesReport{Stage: r.Stage, Zone: z.Update.Zone, By: by, Epoch: v.Epoch, Step: v.Step, Outcome: z.Phase.String(),
		Ordered: r.Ordered, Published: z.PublishedAt}
	if z.Failure != nil {
		n.Failure = z.Failure.Error()
	}
	for _, p := range z.Proofs {
		n.Servers = append(n.Servers, NamesServer{Server: p.Server.String(), Serial: p.Serial, Seen: seen(p), Missing: p.Missing, Answers: addresses(p.Answers)})
	}
	i := slices.IndexFunc(m.Names, func(o NamesReport) bool { return o.Zone == n.Zone && o.Epoch == n.Epoch && o.Step == n.Step })
	if i < 0 {
		m.Names = append(m.Names, n)
		return
	}
	m.Names[i] = n
}

// seen is when a server was first known to hold all of an update.
func seen(p dnsupdate.Proof) time.Time {
	at := p.SerialAt
	for _, a := range p.Answers {
		if a.At.After(at) {
			at = a.At
		}
	}
	return at
}

// addresses are the answers that clients ask for.
func addresses(list []dnsupdate.Answer) []dnsupdate.Answer {
	return slices.DeleteFunc(slices.Clone(list), func(a dnsupdate.Answer) bool { return a.Type == "TXT" })
}

// NamesTrouble lists, by VM, what is wrong with the DNS now.
func (c *Core) NamesTrouble() map[mobility.VMID]string {
	list := map[mobility.VMID]string{}
	for vm, r := range c.namesOf {
		if r.Trouble != "" {
			list[vm] = r.Trouble
		}
	}
	return list
}

// NamesPending is how many VMs the DNS is not known to be right about.
func (c *Core) NamesPending() (n int) {
	for _, r := range c.namesOf {
		if !r.Settled {
			n++
		}
	}
	return n
}

// NamesRecords lists the records of all VMs that have or had services, in order.
// They must not be changed.
func (c *Core) NamesRecords() []*NamesRecord {
	var list []*NamesRecord
	for _, vm := range c.named() {
		if r := c.namesOf[vm]; r != nil {
			list = append(list, r)
		}
	}
	return list
}

// Names is the VM's record, or nil.
func (c *Core) Names(vm mobility.VMID) *NamesRecord { return c.namesOf[vm] }
