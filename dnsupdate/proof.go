package dnsupdate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Want is what a server must answer for one name and type.
type Want struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Exact: nothing but Present. Otherwise other records may stand there, but
	// none of Absent.
	Exact   bool     `json:"exact,omitempty"`
	Present []string `json:"present,omitempty"`
	Absent  []string `json:"absent,omitempty"`
}

// Proof is what one server was seen to hold. A receipt keeps it.
type Proof struct {
	Zone   string         `json:"zone"`
	Server netip.AddrPort `json:"server"`
	// Serial is the zone's as the server gave it last, at SerialAt; Wanted is
	// the primary's after the update. It must be no older (RFC 1982).
	Serial   uint32    `json:"serial"`
	Wanted   uint32    `json:"wanted"`
	SerialAt time.Time `json:"serial_at,omitzero"`
	Answers  []Answer  `json:"answers,omitempty"`
	// Missing says what was not seen in time; empty: proved.
	Missing string `json:"missing,omitempty"`
}

// Answer is one RRset that a server gave, with its TTL in seconds.
type Answer struct {
	Name string    `json:"name"`
	Type string    `json:"type"`
	TTL  uint32    `json:"ttl"`
	Data []string  `json:"data"`
	At   time.Time `json:"at"`
}

// Missing is nil if every server has proved, else a failure that names those
// which have not.
func Missing(proofs []Proof) *Failure {
	var f *Failure
	for _, p := range proofs {
		switch {
		case p.Missing == "":
		case f == nil:
			f = &Failure{Kind: FailureProof, Zone: p.Zone, Detail: fmt.Sprintf("not seen at %v: %s", p.Server, p.Missing)}
		default:
			f.Detail += fmt.Sprintf("; not seen at %v: %s", p.Server, p.Missing)
		}
	}
	return f
}

// Wants is what proves the update: its epoch records and the records it adds,
// and that what it removes is gone.
func (u Update) Wants() ([]Want, error) {
	var list []Want
	for _, it := range u.Items {
		for _, typ := range it.types() {
			w := Want{Name: it.Name, Type: typ, Exact: slices.Contains(it.Clear, typ)}
			var err error
			if w.Present, err = it.data(it.Add, typ); err != nil {
				return nil, err
			}
			if w.Absent, err = it.data(it.Remove, typ); err != nil {
				return nil, err
			}
			list = append(list, w)
		}
		own := rdata(epochRR(epochName(it.Name), u.record(it).Text()))
		if !it.Purge {
			list = append(list, Want{Name: epochName(it.Name), Type: "TXT", Present: []string{own}})
		}
	}
	return list, nil
}

// types that the item says something about, each once.
func (it Item) types() []string {
	types := slices.Clone(it.Clear)
	for _, r := range slices.Concat(it.Remove, it.Add) {
		if !slices.Contains(types, r.Type) {
			types = append(types, r.Type)
		}
	}
	return types
}

func (it Item) data(records []Record, typ string) (list []string, err error) {
	for _, r := range records {
		if r.Type != typ {
			continue
		}
		rr, err := r.rr(it.Name)
		if err != nil {
			return nil, err
		}
		list = append(list, rdata(rr))
	}
	return list, nil
}

// rdata is the data of a record in one spelling; names in lower case.
func rdata(rr dns.RR) string {
	s := strings.TrimPrefix(rr.String(), rr.Header().String())
	if rr.Header().Rrtype == dns.TypeTXT {
		return s
	}
	return strings.ToLower(s)
}

// check compares an answer; "" means it is as wanted.
func (w Want) check(a Answer) string {
	for _, d := range w.Present {
		if !slices.Contains(a.Data, d) {
			return fmt.Sprintf("%s %s lacks %s", w.Name, w.Type, d)
		}
	}
	for _, d := range a.Data {
		if slices.Contains(w.Absent, d) || w.Exact && !slices.Contains(w.Present, d) {
			return fmt.Sprintf("%s %s still has %s", w.Name, w.Type, d)
		}
	}
	return ""
}

// serialReached reports whether a is b or newer (RFC 1982 section 3.2).
func serialReached(a, b uint32) bool { return int32(a-b) >= 0 }
