package dnsupdate

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Polling of a server that does not have the update yet.
const (
	firstPoll = 5 * time.Millisecond
	maxPoll   = 250 * time.Millisecond
)

// Prove asks the primary for the zone's serial, and then each server, itself
// included where it is listed, until it has reached that serial and answers as
// wanted. It returns when all have, or when ctx is done: what is missing then
// is said in the proofs, one a server in the order given. Questions are not
// signed: it sees what clients see.
func (c *Client) Prove(ctx context.Context, zone string, primary netip.AddrPort, servers []netip.AddrPort, want []Want) []Proof {
	proofs := make([]Proof, len(servers))
	at := Proof{Zone: zone, Server: primary}
	poll(ctx, func() bool {
		at.Missing = ""
		c.serial(ctx, &at)
		return at.Missing == ""
	})
	var wg sync.WaitGroup
	for i, s := range servers {
		proofs[i] = Proof{Zone: zone, Server: s, Wanted: at.Serial}
		if at.Missing != "" {
			proofs[i].Missing = fmt.Sprintf("the serial at %v is unknown: %s", primary, at.Missing)
			continue
		}
		wg.Go(func() {
			poll(ctx, func() bool { return c.proveAt(ctx, &proofs[i], want) })
		})
	}
	wg.Wait()
	return proofs
}

// poll calls try until it returns true or ctx is done, less and less often.
func poll(ctx context.Context, try func() bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := firstPoll; ; wait = min(2*wait, maxPoll) {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if try() {
			return
		}
		timer.Reset(wait)
	}
}

// proveAt makes one attempt at p's server.
func (c *Client) proveAt(ctx context.Context, p *Proof, want []Want) bool {
	p.Missing, p.Answers = "", nil
	c.serial(ctx, p)
	if p.Missing != "" {
		return false
	}
	if !serialReached(p.Serial, p.Wanted) {
		p.Missing = fmt.Sprintf("serial %d, the primary has %d", p.Serial, p.Wanted)
		return false
	}
	for _, w := range want {
		a, f := c.answer(ctx, p, w)
		if f != nil {
			p.Missing = f.Detail
			return false
		}
		p.Answers = append(p.Answers, a)
		if p.Missing = w.check(a); p.Missing != "" {
			return false
		}
	}
	return true
}

// serial reads the SOA into p, or sets Missing.
func (c *Client) serial(ctx context.Context, p *Proof) {
	r, f := c.query(ctx, target{zone: p.Zone, server: p.Server}, p.Zone, dns.TypeSOA)
	if f != nil {
		p.Missing = f.Detail
		return
	}
	for _, rr := range r.Answer {
		if s, ok := rr.(*dns.SOA); ok && r.Authoritative {
			p.Serial, p.SerialAt = s.Serial, c.now()
			return
		}
	}
	p.Missing = "does not serve the zone"
}

func (c *Client) answer(ctx context.Context, p *Proof, w Want) (Answer, *Failure) {
	a := Answer{Name: w.Name, Type: w.Type}
	r, f := c.query(ctx, target{zone: p.Zone, server: p.Server}, w.Name, dns.StringToType[w.Type])
	if f != nil {
		return a, f
	}
	a.At = c.now()
	for _, rr := range r.Answer {
		if dns.TypeToString[rr.Header().Rrtype] == w.Type && canonical(rr.Header().Name) == w.Name {
			a.TTL = rr.Header().Ttl
			a.Data = append(a.Data, rdata(rr))
		}
	}
	return a, nil
}
