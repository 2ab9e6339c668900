package dnsupdate

import (
	"fmt"

	"github.com/miekg/dns"

	"github.com/dpmip/dpmip/mobility"
)

// Update is what one zone is to become for one VM: one message (RFC 2136 takes
// one zone a message). It is a value that can be kept as JSON.
type Update struct {
	Zone    string        `json:"zone"`
	VM      mobility.VMID `json:"vm"`
	Version Version       `json:"version"`
	Items   []Item        `json:"items"`
}

// Item is what happens at one owner name; its epoch record changes with it.
type Item struct {
	Name string `json:"name"`
	// Exclusive: a live epoch record of another VM is an error (ErrForeign).
	Exclusive bool `json:"exclusive,omitempty"`
	// Clear are the types removed as whole RRsets, before Add.
	Clear []string `json:"clear,omitempty"`
	// Remove are single records that go; their TTL has no meaning.
	Remove []Record `json:"remove,omitempty"`
	Add    []Record `json:"add,omitempty"`
	// Gone leaves a tombstone as the VM's epoch record; Purge removes the
	// record altogether.
	Gone  bool `json:"gone,omitempty"`
	Purge bool `json:"purge,omitempty"`
}

// Record is one resource record at an item's name. TTL is in seconds; Data is in
// the presentation form of zone files.
type Record struct {
	Type string `json:"type"`
	TTL  uint32 `json:"ttl"`
	Data string `json:"data"`
}

// rr converts to the wire library's form.
func (r Record) rr(name string) (dns.RR, error) {
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", name, r.TTL, r.Type, r.Data))
	if err == nil && rr == nil {
		err = fmt.Errorf("empty record")
	}
	if err != nil {
		return nil, fmt.Errorf("dnsupdate: %s %s %q: %w", name, r.Type, r.Data, err)
	}
	return rr, nil
}

// record is the epoch record that the item leaves behind.
func (u Update) record(it Item) EpochRecord {
	return EpochRecord{VM: u.VM, Version: u.Version, Gone: it.Gone}
}

// epochNames lists the owners of the epoch records that must be read.
func (u Update) epochNames() []string {
	names := make([]string, len(u.Items))
	for i, it := range u.Items {
		names[i] = epochName(it.Name)
	}
	return names
}
