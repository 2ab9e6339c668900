package transport

import (
	"sync/atomic"

	"github.com/dpmip/dpmip/mobility/wire"
)

// counter numbers what is counted.
type counter int

const (
	received counter = iota
	delivered
	dropTruncated
	dropPeerUnknown
	dropPort
	dropRate
	dropNoKey
	dropAuthMissing
	dropAuthSPI
	dropAuthDirection
	dropAuthSubtype
	dropAuthMismatch
	dropAuthBudget
	dropMalformed
	sent
	sendPeerUnknown
	sendNoKey
	sendTooLong
	sendLimit
	sendFailed
	peerUnreachable
	pathError
	counterEnd
)

var counterNames = [counterEnd]string{
	received:          "received",                // messages off a socket
	delivered:         "delivered",               // to the handler
	dropTruncated:     "drop_truncated",          // larger than any message
	dropPeerUnknown:   "drop_peer_unknown",       // source is not on the allow-list
	dropPort:          "drop_source_port",        // UDP, not from port 5436
	dropRate:          "drop_peer_rate",          // the peer's budget for messages is used up
	dropNoKey:         "drop_peer_without_key",   // nothing is accepted from it
	dropAuthMissing:   "drop_auth_missing",       // not a Request (a Request is answered with 146)
	dropAuthSPI:       "drop_auth_spi_unknown",   // likewise
	dropAuthDirection: "drop_auth_spi_direction", // SPI of the other direction or of another peer: reflected, or misdirected
	dropAuthSubtype:   "drop_auth_subtype",       // likewise
	dropAuthMismatch:  "drop_auth_mismatch",      // likewise
	dropAuthBudget:    "drop_auth_failed_budget", // a Request that failed, beyond what is answered
	dropMalformed:     "drop_malformed",          // all that the codec refuses; by kind below
	sent:              "sent",                    // messages handed to the kernel
	sendPeerUnknown:   "send_peer_unknown",       // not sent: not on the allow-list
	sendNoKey:         "send_peer_without_key",   // not sent: neither a key nor leave to do without
	sendTooLong:       "send_unencodable",        // not sent: cannot be signed, or too long
	sendLimit:         "send_larger_than_asked",  // not sent: larger than the question
	sendFailed:        "send_failed",             // the kernel refused
	peerUnreachable:   "peer_unreachable",        // reports that nobody listens at a peer
	pathError:         "path_error",              // other ICMP errors
}

// counters counts events. The malformed ones are by wire.Kind.
type counters struct {
	events    [counterEnd]atomic.Uint64
	malformed map[string]*atomic.Uint64
}

func newCounters() *counters {
	c := &counters{malformed: make(map[string]*atomic.Uint64)}
	for _, r := range wire.DropReasons() {
		c.malformed[r] = new(atomic.Uint64)
	}
	return c
}

func (c *counters) add(n counter) { c.events[n].Add(1) }

func (c *counters) bad(err error) { c.malformed[wire.DropReason(err)].Add(1) }

// snapshot gives every counter by its stable name.
func (c *counters) snapshot() map[string]uint64 {
	m := make(map[string]uint64, len(counterNames)+len(c.malformed))
	for i := range c.events {
		m[counterNames[i]] = c.events[i].Load()
	}
	for r, v := range c.malformed {
		m["drop_malformed_"+r] = v.Load()
	}
	return m
}
