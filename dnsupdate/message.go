package dnsupdate

import (
	"errors"
	"fmt"

	"github.com/miekg/dns"
)

var (
	// ErrStale says that the DNS already holds a newer Version for this VM:
	// the update came too late and nothing was written.
	ErrStale = errors.New("dnsupdate: stale: the DNS holds a newer version")
	// ErrForeign says that a name which should be this VM's alone has a live
	// record of another VM; nothing was written.
	ErrForeign = errors.New("dnsupdate: the name belongs to another VM")
)

// Stored is what was read of the epoch records of one zone: the strings of each
// TXT record by owner name. A name without records has no entry.
type Stored map[string][][]string

// Judge compares an update with what is stored. It reports whether all of it
// has been applied already, or an error that wraps ErrStale, ErrForeign or
// ErrEpochRecord: then nothing may be written.
func (u Update) Judge(stored Stored) (applied bool, err error) {
	applied = true
	for _, it := range u.Items {
		done, err := u.judge(it, stored[epochName(it.Name)])
		if err != nil {
			return false, fmt.Errorf("%s: %w", it.Name, err)
		}
		applied = applied && done
	}
	return applied, nil
}

func (u Update) judge(it Item, records [][]string) (applied bool, err error) {
	own := false
	for _, text := range records {
		r, err := ParseEpochRecord(text)
		switch {
		case err != nil:
			return false, err
		case r.VM != u.VM && it.Exclusive && !r.Gone:
			return false, fmt.Errorf("%w: %s, epoch %v", ErrForeign, r.VM, r.Version)
		case r.VM != u.VM:
			continue
		case r.Version.Compare(u.Version) > 0:
			return false, fmt.Errorf("%w: %v, ours is %v", ErrStale, r.Version, u.Version)
		}
		own = true
		applied = applied || r.Version == u.Version
	}
	if it.Purge {
		return !own, nil
	}
	return applied, nil
}

// Message builds the unsigned update (RFC 2136). The epoch records, exactly as
// stored, are its prerequisites: had one changed meanwhile, nothing of the
// message is applied (NXRRSET or YXRRSET).
func (u Update) Message(stored Stored) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetUpdate(canonical(u.Zone))
	for _, it := range u.Items {
		owner := epochName(it.Name)
		if len(stored[owner]) == 0 {
			m.RRsetNotUsed([]dns.RR{epochRR(owner, nil)})
		}
		for _, text := range stored[owner] {
			m.Used([]dns.RR{epochRR(owner, text)})
		}
	}
	for _, it := range u.Items {
		if err := u.change(m, it, stored[epochName(it.Name)]); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// change appends what happens at one name, removals first.
func (u Update) change(m *dns.Msg, it Item, records [][]string) error {
	owner := epochName(it.Name)
	for _, text := range records {
		if r, err := ParseEpochRecord(text); err == nil && r.VM == u.VM {
			m.Remove([]dns.RR{epochRR(owner, text)})
		}
	}
	for _, typ := range it.Clear {
		t, ok := dns.StringToType[typ]
		if !ok {
			return fmt.Errorf("dnsupdate: %s: unknown type %q", it.Name, typ)
		}
		m.RemoveRRset([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: it.Name, Rrtype: t}}})
	}
	for _, r := range it.Remove {
		rr, err := r.rr(it.Name)
		if err != nil {
			return err
		}
		m.Remove([]dns.RR{rr})
	}
	for _, r := range it.Add {
		rr, err := r.rr(it.Name)
		if err != nil {
			return err
		}
		m.Insert([]dns.RR{rr})
	}
	if !it.Purge {
		m.Insert([]dns.RR{epochRR(owner, u.record(it).Text())})
	}
	return nil
}

// epochRR is an epoch record on the wire; its TTL is 0, no cache may hold it.
func epochRR(owner string, text []string) *dns.TXT {
	return &dns.TXT{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: text}
}
