package registration

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

var ip = netip.MustParseAddr

// vectorVM is the DUID of the vectors; vectorMAC their link-layer address.
var (
	vectorVM  = mobility.VMID{Subtype: mobility.IDDUID, Bytes: "\x00\x04\x6b\xa7\xb8\x10\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8"}
	vectorMAC = mobility.MAC{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}
	nai       = mobility.NAI("vm1@dc1.example")
	hot       = mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectTranslated, New: mobility.PolicyRedirect}
	ticket    = mobility.Ticket{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	old1      = ip("2001:db8:a:100::42")
	new1      = ip("2001:db8:b:100::42")
	delivery1 = mobility.Delivery{Old: old1, D: ip("2001:db8:b:d::7a31:8702")}
)

// vectorRequests says the Requests of the vectors in words, with the role that
// reads them.
var vectorRequests = map[string]struct {
	role     Role
	sequence uint16
	request  Request
}{
	"01_regreq_create": {RoleManagement, 1, Request{
		VM: vectorVM, MAC: vectorMAC, Handoff: mobility.HandoffNew, Lifetime: 900,
		Slots: []netip.Addr{old1}, Timestamp: time.Unix(1400000000, 5e8).UTC()}},
	"03_regreq_move": {RoleManagement, 7, Request{
		VM: vectorVM, MAC: vectorMAC, Handoff: mobility.HandoffMove, Lifetime: 900,
		Slots: []netip.Addr{new1}, Timestamp: time.Unix(1400000060, 0).UTC()}},
	"04_regreq_mn_to_source_pair": {RoleHypervisor, 100, Request{
		VM: vectorVM, MAC: vectorMAC, Handoff: mobility.HandoffMove, Lifetime: 75,
		Pairs: []mobility.Pair{{Old: old1, New: new1}}, Timestamp: time.Unix(1400000061, 0).UTC(), CareOf: ip("2001:db8:b::1")}},
	"06_regreq_ipv4": {RoleManagement, 2, Request{
		VM: vectorVM, MAC: vectorMAC, Handoff: mobility.HandoffNew, Lifetime: 900,
		Slots: []netip.Addr{ip("192.0.2.42")}, Locator4: ip("192.0.2.1")}},
	"07_regreq_dereg": {RoleManagement, 3, Request{
		VM: vectorVM, MAC: vectorMAC, Handoff: mobility.HandoffUnknown, Slots: []netip.Addr{old1}}},
	"18_prepare_to_destination": {RoleHypervisor, 0x29, Request{
		VM: nai, MAC: vectorMAC, Handoff: mobility.HandoffMove, Lifetime: 75,
		Pairs: []mobility.Pair{{Old: old1, New: old1}}, Timestamp: time.Unix(1767225600, 0).UTC(),
		Ticket: ticket, Epoch: 2, Move: hot.WithPhase(mobility.PhasePrepare), CareOf: ip("2001:db8:a::1")}},
	"20_commit": {RoleManagement, 7, Request{
		VM: nai, MAC: vectorMAC, Handoff: mobility.HandoffMove, Lifetime: 900,
		Slots: []netip.Addr{old1}, Timestamp: time.Unix(1767225601, 0).UTC(),
		Ticket: ticket, Epoch: 2, Move: hot.WithPhase(mobility.PhaseCommit),
		Deliveries: []mobility.Delivery{delivery1}, Nonce: mobility.Nonce{0, 1, 2, 3, 4, 5, 6, 7}}},
}

// vectorReplies does so for the Replies.
var vectorReplies = map[string]struct {
	pairs    bool
	sequence uint16
	reply    Reply
}{
	"02_regrep_accept": {false, 1, Reply{
		Lifetime: 450, VM: vectorVM, MAC: vectorMAC, Slots: []netip.Addr{old1}, Timestamp: time.Unix(1400000000, 5e8).UTC()}},
	"05_regrep_source_to_mn": {true, 100, Reply{
		Lifetime: 75, VM: vectorVM, MAC: vectorMAC, Pairs: []mobility.Pair{{Old: old1, New: new1}}, Timestamp: time.Unix(1400000061, 0).UTC()}},
	"08_regrep_ts_mismatch": {false, 1, Reply{
		Status: mobility.StatusTimestampMismatch, VM: vectorVM, Slots: []netip.Addr{old1}, Timestamp: time.Unix(1400000005, 0).UTC()}},
	"19_prepare_reply": {true, 0x29, Reply{
		Lifetime: 75, VM: nai, Timestamp: time.Unix(1767225600, 0).UTC(), Epoch: 2, Deliveries: []mobility.Delivery{delivery1}}},
}

// vectorBytes reads the vectors: without checksum, and without authenticator
// where one is there.
func vectorBytes(t *testing.T) map[string][]byte {
	t.Helper()
	raw, err := os.ReadFile("../wire/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []struct{ Name, MH, Key string }
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]byte)
	for _, v := range list {
		b, err := hex.DecodeString(v.MH)
		if err != nil {
			t.Fatal(err)
		}
		b[4], b[5] = 0, 0
		out[v.Name] = b
	}
	if len(out) == 0 {
		t.Fatal("no vectors")
	}
	return out
}

// withoutAuth rebuilds a vector without its authenticator and pads.
func withoutAuth(t *testing.T, b []byte) []byte {
	t.Helper()
	var m, plain wire.Message
	if err := m.Parse(b); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.Authentication(); !ok {
		return b
	}
	plain.Reset(m.Type)
	plain.Request, plain.Reply = m.Request, m.Reply
	for o := range m.Options() {
		if o.Type != wire.OptAuthentication && o.Type != wire.OptPad1 && o.Type != wire.OptPadN {
			plain.AddOption(o)
		}
	}
	out, err := plain.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestVectorRequests(t *testing.T) {
	t.Parallel()
	vectors, n := vectorBytes(t), newNode(t, RoleManagement, nil)
	for name, v := range vectorRequests {
		want := vectors[name]
		got, err := n.packRequest(&v.request, v.sequence)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(hex.EncodeToString(withoutAuth(t, want)), hex.EncodeToString(got)); d != "" {
			t.Errorf("%s packed (-want +got):\n%s", name, d)
		}
		var m wire.Message
		if err := m.Parse(want); err != nil {
			t.Fatal(err)
		}
		r, status := unpackRequest(&m, v.role)
		if d := cmp.Diff(v.request, r, cmpAddr); d != "" || status != 0 {
			t.Errorf("%s read, status %v (-want +got):\n%s", name, status, d)
		}
	}
}

func TestVectorReplies(t *testing.T) {
	t.Parallel()
	vectors, n := vectorBytes(t), newNode(t, RoleHypervisor, nil)
	for name, v := range vectorReplies {
		want := vectors[name]
		got, err := n.packReply(&v.reply, v.sequence, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(hex.EncodeToString(withoutAuth(t, want)), hex.EncodeToString(got)); d != "" {
			t.Errorf("%s packed (-want +got):\n%s", name, d)
		}
		var m wire.Message
		if err := m.Parse(want); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(v.reply, unpackReply(&m, v.pairs), cmpAddr); d != "" {
			t.Errorf("%s read (-want +got):\n%s", name, d)
		}
	}
}

var cmpAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
