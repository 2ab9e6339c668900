package dnsupdate

import (
	"context"
	"net/netip"

	"github.com/miekg/dns"
)

// Read asks a server for the epoch records of an update, as Updater does before
// it writes. The error is a *Failure. A nil key leaves the questions unsigned.
func (c *Client) Read(ctx context.Context, server netip.AddrPort, key *Key, u Update) (Stored, error) {
	stored, f := c.readEpochs(ctx, target{zone: u.Zone, server: server, key: key}, u)
	if f != nil {
		return nil, f
	}
	return stored, nil
}

// Write sends an update whose prerequisite is what was stored. The error is a
// *Failure. A nil key leaves it unsigned, which a server should refuse.
func (c *Client) Write(ctx context.Context, server netip.AddrPort, key *Key, u Update, stored Stored) error {
	if f := c.write(ctx, target{zone: u.Zone, server: server, key: key}, u, stored); f != nil {
		return f
	}
	return nil
}

// readEpochs reads the epoch records of an update from the server that will take
// it, authoritative answers only, signed both ways.
func (c *Client) readEpochs(ctx context.Context, to target, u Update) (Stored, *Failure) {
	stored := Stored{}
	for _, name := range u.epochNames() {
		r, f := c.query(ctx, to, name, dns.TypeTXT)
		if f != nil {
			return nil, f
		}
		if !r.Authoritative {
			return nil, to.fail(FailureNotAuth, "the server is not authoritative for %s", name)
		}
		for _, rr := range r.Answer {
			if t, ok := rr.(*dns.TXT); ok && canonical(t.Hdr.Name) == name {
				stored[name] = append(stored[name], t.Txt)
			}
		}
	}
	return stored, nil
}

// write sends the update.
func (c *Client) write(ctx context.Context, to target, u Update, stored Stored) *Failure {
	m, err := u.Message(stored)
	if err != nil {
		return to.fail(FailureConfig, "%v", err)
	}
	_, f := c.exchange(ctx, to, m)
	return f
}
