package transport

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

// TestBadInput injects one bad message after another from a raw socket. Each must
// raise its counters, and be delivered only where the Node owes an answer.
func TestBadInput(t *testing.T) {
	t.Parallel()
	good := func(t *testing.T) []byte { return signed(t, aToM, request(t, 1), addrA, addrM) }
	with := func(off int, v ...byte) func(*testing.T) []byte {
		return func(t *testing.T) []byte { b := good(t); copy(b[off:], v); return b }
	}
	rows := []struct {
		name  string
		from  netip.Addr
		bytes func(t *testing.T) []byte
		want  map[string]uint64 // besides received
		auth  registration.Auth // what is delivered, or 0
	}{
		{"stranger", addrX, good, map[string]uint64{"drop_peer_unknown": 1}, 0},
		{"peer without key", addrC, good, map[string]uint64{"drop_peer_without_key": 1}, 0},
		{"header says more", addrA, with(1, 20), map[string]uint64{"drop_malformed": 1, "drop_malformed_short_message": 1}, 0},
		{"header says less", addrA, with(1, 3), map[string]uint64{"drop_malformed": 1, "drop_malformed_trailing_bytes": 1}, 0},
		{"trailing bytes", addrA, func(t *testing.T) []byte { return append(good(t), make([]byte, 8)...) },
			map[string]uint64{"drop_malformed": 1, "drop_malformed_trailing_bytes": 1}, 0},
		{"payload proto 58", addrA, with(0, 58), map[string]uint64{"drop_malformed": 1, "drop_malformed_payload_proto": 1}, 0},
		{"six bytes", addrA, func(*testing.T) []byte { return []byte{59, 0, 5, 0, 0, 0} },
			map[string]uint64{"drop_malformed": 1, "drop_malformed_short_message": 1}, 0},
		{"option overrun", addrA, with(13, 200), map[string]uint64{"drop_malformed": 1, "drop_malformed_option_overrun": 1}, 0},
		{"unknown type", addrA, with(2, 99), map[string]uint64{"drop_malformed_unknown_type": 1, "delivered": 1}, registration.AuthAbsent},
		{"larger than any", addrA, func(*testing.T) []byte { return make([]byte, 3000) }, map[string]uint64{"drop_truncated": 1}, 0},
		{"no authenticator", addrA, func(t *testing.T) []byte { return request(t, 1) },
			map[string]uint64{"drop_auth_missing": 1, "delivered": 1}, registration.AuthAbsent},
		{"heartbeat without authenticator", addrA, func(t *testing.T) []byte { return heartbeat(t, 1) },
			map[string]uint64{"drop_auth_missing": 1}, 0},
		{"changed", addrA, with(6, 0xff, 0xff), map[string]uint64{"drop_auth_mismatch": 1, "delivered": 1}, registration.AuthFailed},
		{"unknown SPI", addrA, func(t *testing.T) []byte { return signed(t, sha(4711, "a to m"), request(t, 1), addrA, addrM) },
			map[string]uint64{"drop_auth_spi_unknown": 1, "delivered": 1}, registration.AuthFailed},
		{"wrong source", addrB, good, map[string]uint64{"drop_auth_spi_direction": 1, "delivered": 1}, registration.AuthFailed},
		{"reflected", addrA, func(t *testing.T) []byte { return signed(t, mToA, heartbeat(t, 1), addrM, addrA) },
			map[string]uint64{"drop_auth_spi_direction": 1}, 0},
		{"signed over another care-of address", addrA, func(t *testing.T) []byte { return signed(t, aToM, request(t, 1), addrB, addrM) },
			map[string]uint64{"drop_auth_mismatch": 1, "delivered": 1}, registration.AuthFailed},
		{"authenticator subtype", addrA, func(t *testing.T) []byte {
			b := good(t)
			return put16(b, len(b)-21, 2<<8) // the subtype, and the first byte of the SPI
		}, map[string]uint64{"drop_auth_subtype": 1, "delivered": 1}, registration.AuthFailed},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t, all...)
			m := start(t, s, managementTable(t), nil, addrM)
			inject := injector(t, s, r.from)
			b := r.bytes(t)
			inject(addrM, b)
			r.want["received"] = 1
			if r.auth != 0 {
				got := m.next(t)
				if got.auth != r.auth || got.from != r.from || !bytes.Equal(clearSum(got.bytes), clearSum(b)) {
					t.Errorf("delivered %v from %s, want %v from %s", got.auth, got.from, r.auth, r.from)
				}
			}
			// A valid message behind it proves that it was dealt with.
			marker := injector(t, s, addrB)
			marker(addrM, signed(t, bToM, heartbeat(t, 77), addrB, addrM))
			if got := m.next(t); got.seq != 77 {
				t.Errorf("%v of sequence %d was delivered", got.typ, got.seq)
			}
			r.want["received"]++
			r.want["delivered"]++
			if d := cmp.Diff(r.want, nonZero(m.Counters())); d != "" {
				t.Errorf("counters (-want +got):\n%s", d)
			}
		})
	}
}

// clearSum removes the checksum, which the kernel filled in on the way.
func clearSum(b []byte) []byte {
	b = bytes.Clone(b)
	b[4], b[5] = 0, 0
	return b
}

func TestInsecureIsHeardWithoutKeys(t *testing.T) {
	t.Parallel()
	s := newSpace(t, all...)
	tab, err := NewTable([]Peer{{Addr: addrC}, {Addr: addrA, Receive: []Key{aToM}}}, true)
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, s, tab, nil, addrM)
	injector(t, s, addrC)(addrM, request(t, 1))
	if got := m.next(t); got.auth != registration.AuthNotRequired {
		t.Errorf("from a peer without keys: %v, want AuthNotRequired", got.auth)
	}
	// A peer that has a key is still held to it.
	injector(t, s, addrA)(addrM, request(t, 1))
	if got := m.next(t); got.auth != registration.AuthAbsent {
		t.Errorf("from a peer with keys: %v, want AuthAbsent", got.auth)
	}
}

func TestFloodDoesNotStarveTheValid(t *testing.T) {
	t.Parallel()
	s := newSpace(t, all...)
	m := start(t, s, managementTable(t), nil, addrM)
	a := start(t, s, tableOfA(t), nil, addrA)
	forge := injector(t, s, addrA)
	forged := signed(t, aToM, request(t, 9), addrA, addrM)
	forged[len(forged)-1] ^= 1
	const valid, each = 100, 50
	seen := 0
	for i := range valid {
		for range each {
			forge(addrM, forged)
		}
		if err := a.Send(t.Context(), []registration.Send{{To: addrM, Payload: heartbeat(t, uint32(i))}}); err != nil {
			t.Fatal(err)
		}
		for {
			got := m.next(t)
			if got.auth == registration.AuthFailed {
				seen++
				continue
			}
			if got.seq != uint32(i) {
				t.Fatalf("sequence %d, want %d", got.seq, i)
			}
			break
		}
	}
	c := m.Counters()
	if c["drop_auth_mismatch"] != valid*each || c["drop_auth_failed_budget"]+uint64(seen) != valid*each {
		t.Errorf("of %d forged: mismatch %d, over budget %d, delivered %d", valid*each, c["drop_auth_mismatch"], c["drop_auth_failed_budget"], seen)
	}
	if seen >= valid*each/2 {
		t.Errorf("%d of %d forged Requests would be answered", seen, valid*each)
	}
}

func TestUDPSourcePort(t *testing.T) {
	t.Parallel()
	s := newSpace(t, all...)
	m := start(t, s, managementTable(t), nil, addrM4)
	a := start(t, s, tableOfA(t), nil, addrA4)
	other := udpInjector(t, s, netip.AddrPortFrom(addrA4, 40000))
	other(addrM4, signed(t, a4ToM, heartbeat(t, 1), addrA4, addrM4))
	if err := a.Send(t.Context(), []registration.Send{{To: addrM4, Payload: heartbeat(t, 2)}}); err != nil {
		t.Fatal(err)
	}
	if got := m.next(t); got.seq != 2 {
		t.Errorf("sequence %d was delivered", got.seq)
	}
	if n := m.Counters()["drop_source_port"]; n != 1 {
		t.Errorf("drop_source_port = %d, want 1", n)
	}
	var w wire.Message
	if err := w.Parse(heartbeat(t, 2)); err != nil || w.Checksum != 0 {
		t.Errorf("checksum %#x, %v", w.Checksum, err)
	}
}
