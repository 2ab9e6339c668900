package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// optionRows are one option each: how it is added, its bytes behind a header of
// 12 bytes with the pad that aligns it, and what is read back.
var optionRows = []struct {
	name string
	add  func(m *Message)
	hex  string
	read func(m *Message) string
	want string
}{
	{"refresh advice", func(m *Message) { m.AddRefreshAdvice(75) }, "0202004b",
		func(m *Message) string { return fmt.Sprint(m.RefreshAdvice()) }, "75 true"},
	{"alternate care-of address", func(m *Message) { m.AddAlternateCareOf(ip("2001:db8::1")) }, "0100" + "031020010db8000000000000000000000001",
		func(m *Message) string { return fmt.Sprint(m.AlternateCareOf()) }, "2001:db8::1 true"},
	{"alternate care-of address, IPv4", func(m *Message) { m.AddAlternateCareOf(ip("192.0.2.1")) }, "0100" + "031000000000000000000000ffffc0000201",
		func(m *Message) string { return fmt.Sprint(m.AlternateCareOf()) }, "192.0.2.1 true"},
	{"VM identifier, NAI", func(m *Message) { m.AddVMID(mobility.NAI("v@d")) }, "080401764064",
		func(m *Message) string { return fmt.Sprint(m.VMID()) }, "v@d true"},
	{"VM identifier, EUI-48", func(m *Message) {
		m.AddVMID(mobility.VMID{Subtype: mobility.IDEUI48, Bytes: "\x52\x54\x00\x01\x02\x03"})
	}, "080705525400010203",
		func(m *Message) string { return fmt.Sprint(m.VMID()) }, "eui48:525400010203 true"},
	{"authentication", func(m *Message) {
		m.AddAuthentication(Authentication{Subtype: 1, SPI: 256, Authenticator: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}})
	}, "0103000000" + "0915" + "01" + "00000100" + "0102030405060708090a0b0c0d0e0f10",
		func(m *Message) string { return fmt.Sprint(m.Authentication()) }, "{1 256 [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]} true"},
	{"authentication, 12 bytes", func(m *Message) {
		m.AddAuthentication(Authentication{Subtype: 1, SPI: 256, Authenticator: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}})
	}, "00" + "0911" + "01" + "00000100" + "0102030405060708090a0b0c",
		func(m *Message) string { return fmt.Sprint(m.Authentication()) }, "{1 256 [1 2 3 4 5 6 7 8 9 10 11 12]} true"},
	{"replay protection", func(m *Message) { m.AddReplayProtection(0xed00_7f00_8000_0000) }, "010400000000" + "0a08ed007f0080000000",
		func(m *Message) string { return fmt.Sprint(m.ReplayProtection()) }, "2026-01-01T05:05:04.5Z true"},
	{"VM address", func(m *Message) { m.AddAddress(ip("2001:db8::42")) }, "1612008020010db8000000000000000000000042",
		func(m *Message) string { return fmt.Sprint(m.AppendAddresses(nil)) }, "[{2001:db8::42 128}]"},
	{"VM address, a prefix", func(m *Message) { m.AddVMAddress(VMAddress{ip("2001:db8::"), 64}) }, "1612004020010db8000000000000000000000000",
		func(m *Message) string { v := m.AppendAddresses(nil); return fmt.Sprint(v, v[0].IsHost()) }, "[{2001:db8:: 64}] false"},
	{"VM IPv4 address", func(m *Message) { m.AddAddress(ip("192.0.2.42")) }, "24068000c000022a",
		func(m *Message) string { v := m.AppendAddresses(nil); return fmt.Sprint(v, v[0].IsHost()) }, "[{192.0.2.42 32}] true"},
	{"VM IPv4 address, a prefix", func(m *Message) { m.AddVMAddress(VMAddress{ip("192.0.2.0"), 24}) }, "24066000c0000200",
		func(m *Message) string { return fmt.Sprint(m.AppendAddresses(nil)) }, "[{192.0.2.0 24}]"},
	{"default router", func(m *Message) { m.AddDefaultRouter(ip("192.0.2.1")) }, "26060000c0000201",
		func(m *Message) string { return fmt.Sprint(m.DefaultRouter()) }, "192.0.2.1 true"},
	{"handoff indicator", func(m *Message) { m.AddHandoffIndicator(mobility.HandoffUnchanged) }, "17020005",
		func(m *Message) string { return fmt.Sprint(m.HandoffIndicator()) }, "refresh true"},
	{"access technology", func(m *Message) { m.AddAccessTechnology(AccessVirtual) }, "18020001",
		func(m *Message) string { return fmt.Sprint(m.AccessTechnology()) }, "virtual true"},
	{"link-layer identifier", func(m *Message) { m.AddLinkLayerID(vmMAC) }, "01020000" + "19080000525400123456",
		func(m *Message) string { return fmt.Sprint(m.LinkLayerID()) }, "52:54:00:12:34:56 true"},
	{"link-local address", func(m *Message) { m.AddLinkLocal(ip("fe80::1")) }, "0100" + "1a10fe800000000000000000000000000001",
		func(m *Message) string { return fmt.Sprint(m.LinkLocal()) }, "fe80::1 true"},
	{"timestamp", func(m *Message) { m.AddTimestamp(1400000000<<16 | 0x4000) }, "010400000000" + "1b08000053724e004000",
		func(m *Message) string { return fmt.Sprint(m.Timestamp()) }, "2014-05-13T16:53:20.25Z true"},
	{"restart counter", func(m *Message) { m.AddRestartCounter(7) }, "0100" + "1c0400000007",
		func(m *Message) string { return fmt.Sprint(m.RestartCounter()) }, "7 true"},
	{"ticket", func(m *Message) { m.AddTicket(ticket) }, "0100" + "131500007ed90100112233445566778899aabbccddeeff",
		func(m *Message) string { return fmt.Sprint(m.Ticket()) }, "00112233445566778899aabbccddeeff true"},
	{"epoch", func(m *Message) { m.AddEpoch(0x01020304) }, "0100" + "130900007ed90201020304",
		func(m *Message) string { return fmt.Sprint(m.Epoch()) }, "16909060 true"},
	{"move", func(m *Message) { m.AddMove(theMove.WithPhase(mobility.PhaseAbort)) }, "0100" + "130a00007ed9030301020103",
		func(m *Message) string { return fmt.Sprint(m.Move()) }, "{hot keep translated redirect abort} true"},
	{"delivery", func(m *Message) { m.AddDelivery(mobility.Delivery{Old: ip("2001:db8::1"), D: ip("2001:db8::2")}) },
		"0100" + "132500007ed90420010db800000000000000000000000120010db8000000000000000000000002",
		func(m *Message) string { return fmt.Sprint(m.AppendDeliveries(nil)) }, "[{2001:db8::1 2001:db8::2}]"},
	{"IPv4 delivery", func(m *Message) { m.AddDelivery(mobility.Delivery{Old: ip("192.0.2.1"), D: ip("198.51.100.2")}) },
		"0100" + "130d00007ed905c0000201c6336402",
		func(m *Message) string { return fmt.Sprint(m.AppendDeliveries(nil)) }, "[{192.0.2.1 198.51.100.2}]"},
	{"nonce", func(m *Message) { m.AddNonce(theNonce) }, "0100" + "130d00007ed9060001020304050607",
		func(m *Message) string { return fmt.Sprint(m.Nonce()) }, "[0 1 2 3 4 5 6 7] true"},
	{"slot count", func(m *Message) { m.AddSlotCount(mobility.SlotCount{V6: 2, V4: 1}) }, "0100" + "130700007ed9070201",
		func(m *Message) string { return fmt.Sprint(m.SlotCount()) }, "{2 1} true"},
	{"another vendor's", func(m *Message) { m.AddVendor(Vendor{Enterprise: 9, Subtype: 1, Data: []byte{0xaa}}) }, "0100" + "13060000000901aa",
		func(m *Message) string { d, ok := m.Raw(OptVendor); return fmt.Sprint(d, ok) + fmt.Sprint(m.Ticket()) },
		"[0 0 0 9 1 170] true00000000000000000000000000000000 false"},
	{"unknown option", func(m *Message) { m.AddOption(Option{Type: 200, Data: []byte{1, 2, 3}}) }, "c803010203",
		func(m *Message) string { return fmt.Sprint(m.Raw(200)) }, "[1 2 3] true"},
	{"serving MAAR, by name", func(m *Message) { m.AddOption(Option{Type: OptServingMAAR, Data: []byte{1}}) }, "440101",
		func(m *Message) string { return fmt.Sprint(OptServingMAAR, m.Count(OptServingMAAR)) }, "Serving MAAR 1"},
	{"pads, by hand", func(m *Message) { m.AddOption(Option{}); m.AddOption(Option{Type: OptPadN, Data: []byte{9}}) }, "00010109",
		func(m *Message) string { return fmt.Sprint(len(m.spans)) }, "2"},
}

func TestOptions(t *testing.T) {
	m := new(Message)
	for _, r := range optionRows {
		m.Reset(TypeRequest)
		r.add(m)
		b := mustAppend(t, m)
		want, err := hex.DecodeString(r.hex)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		want = appendPad(want, -(12+len(want))&7)
		if d := diff(want, b[12:]); d != "" {
			t.Errorf("%s: (-want +got)\n%s", r.name, d)
			continue
		}
		if d := cmp.Diff(r.want, r.read(m)); d != "" {
			t.Errorf("%s, built: (-want +got)\n%s", r.name, d)
		}
		p := mustParse(t, b)
		got := r.read(p)
		if r.name == "pads, by hand" {
			got = fmt.Sprint(len(p.spans))
		}
		if d := cmp.Diff(r.want, got); d != "" {
			t.Errorf("%s, parsed: (-want +got)\n%s", r.name, d)
		}
	}
}

// TestOptionAlignment adds each option of the table behind leads of every length
// and looks at where its type byte falls.
func TestOptionAlignment(t *testing.T) {
	align := map[OptionType][2]int{
		OptRefreshAdvice: {2, 0}, OptAlternateCareOf: {8, 6}, OptAuthentication: {4, 1}, OptReplayProtection: {8, 2},
		OptVendor: {4, 2}, OptVMAddress: {8, 4}, OptLinkLayerID: {8, 0}, OptLinkLocal: {8, 6}, OptTimestamp: {8, 2},
		OptRestartCounter: {4, 2}, OptVMIPv4Address: {4, 0}, OptDefaultRouter: {4, 0},
	}
	m := new(Message)
	for typ, a := range align {
		for lead := range 8 {
			m.Reset(TypeRequest)
			m.AddOption(Option{Type: 200, Data: make([]byte, lead)})
			m.AddOption(Option{Type: typ, Data: make([]byte, 21)})
			mustParse(t, mustAppend(t, m))
			last := m.spans[len(m.spans)-1]
			if off := int(last.off) - 2; last.typ != typ || off%a[0] != a[1] || off-14-lead > 7 {
				t.Errorf("%s behind %d bytes: at %d, want %dn+%d", typ, lead, off, a[0], a[1])
			}
		}
	}
}

func TestEveryMessageType(t *testing.T) {
	rows := []struct {
		name string
		set  func(m *Message)
		typ  Type
		hex  string
	}{
		{"request", func(m *Message) { m.Request = Request{1, RequestAck | RequestProxy, 3} }, TypeRequest, "3b01050000000001" + "82000003" + "01020000"},
		{"reply", func(m *Message) { m.Reply = Reply{135, ReplyProxy, 2, 3} }, TypeReply, "3b01060000008720" + "00020003" + "01020000"},
		{"binding error", func(m *Message) { m.BindingError = BindingError{1, 0, ip("2001:db8::9")} }, TypeBindingError, "3b02070000000100" + "20010db8000000000000000000000009"},
		{"heartbeat", func(m *Message) {
			m.Heartbeat = Heartbeat{HeartbeatUnsolicited | HeartbeatResponse, 0x01020304}
		}, TypeHeartbeat, "3b010d0000000003" + "01020304" + "01020000"},
		{"revocation", func(m *Message) { m.Revocation = Revocation{RevocationIndication, 4, 5, RevocationProxy} }, TypeRevocation, "3b01100000000104" + "00058000" + "01020000"},
		{"revocation ack", func(m *Message) { m.Revocation = Revocation{RevocationAck, 128, 5, RevocationProxy} }, TypeRevocation, "3b01100000000280" + "00058000" + "01020000"},
		{"update notification", func(m *Message) {
			m.UpdateNotification = UpdateNotification{6, UpdateRegister, UpdateAckWanted}
		}, TypeUpdateNotification, "3b01130000000006" + "00018000" + "01020000"},
		{"update ack", func(m *Message) { m.UpdateAck = UpdateAck{Sequence: 6, Status: 128} }, TypeUpdateAck, "3b01140000000006" + "80000000" + "01020000"},
	}
	for _, r := range rows {
		m := new(Message)
		m.Reset(r.typ)
		r.set(m)
		b := mustAppend(t, m)
		if d := cmp.Diff(r.hex, hex.EncodeToString(b)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", r.name, d)
		}
		p := mustParse(t, b)
		again := new(Message)
		rebuild(again, p)
		if d := diff(b, mustAppend(t, again)); d != "" {
			t.Errorf("%s, from its fields: (-want +got)\n%s", r.name, d)
		}
	}
}

// TestEveryBitOfTheFixedPart sets each byte of the fixed part, reserved ones
// too, and wants it back.
func TestEveryBitOfTheFixedPart(t *testing.T) {
	for _, typ := range []Type{TypeRequest, TypeReply, TypeBindingError, TypeHeartbeat, TypeRevocation, TypeUpdateNotification, TypeUpdateAck} {
		b := raw(typ, 1, 2, 0xaa, 0xbb)
		if typ == TypeBindingError {
			b = raw(typ)
		}
		for i := 3; i < len(b)-4 || i < typ.fixedLen(); i++ {
			b[i] = byte(0x80 + i)
		}
		if d := diff(b, mustAppend(t, mustParse(t, b))); d != "" {
			t.Errorf("%s: (-want +got)\n%s", typ, d)
		}
	}
}

func TestRefusedOptions(t *testing.T) {
	long := make([]byte, 256)
	rows := []struct {
		name string
		add  func(m *Message)
		kind Kind
		text string
	}{
		{"bad identifier", func(m *Message) { m.AddVMID(mobility.NAI("a b")) }, KindOptionValue, "wire: option 8: mobility: bad VM identifier: byte 0x20 in an NAI"},
		{"second identifier", func(m *Message) { m.AddVMID(naiID); m.AddVMID(naiID) }, KindOptionDuplicate, "wire: option 8: duplicate at byte 30"},
		{"no address", func(m *Message) { m.AddAddress(netip.Addr{}) }, KindOptionValue, "wire: option 22: bad address invalid IP"},
		{"mapped address", func(m *Message) { m.AddAddress(ip("::ffff:192.0.2.1")) }, KindOptionValue, "wire: option 22: bad address ::ffff:192.0.2.1"},
		{"address with zone", func(m *Message) { m.AddAddress(ip("fe80::1%eth0")) }, KindOptionValue, "wire: option 22: bad address fe80::1%eth0"},
		{"IPv4 prefix of 64", func(m *Message) { m.AddVMAddress(VMAddress{ip("192.0.2.1"), 64}) }, KindOptionValue, "wire: option 36: prefix length above 63"},
		{"pair of two families", func(m *Message) { m.AddPair(mobility.Pair{Old: ip("192.0.2.1"), New: ip("::1")}) }, KindOptionValue, "wire: option 22: pair of two families: 192.0.2.1, ::1"},
		{"delivery of two families", func(m *Message) { m.AddDelivery(mobility.Delivery{Old: ip("192.0.2.1"), D: ip("::1")}) }, KindOptionValue, "wire: option 19: delivery of two families: 192.0.2.1, ::1"},
		{"no care-of address", func(m *Message) { m.AddAlternateCareOf(netip.Addr{}) }, KindOptionValue, "wire: option 3: no address"},
		{"IPv6 default router", func(m *Message) { m.AddDefaultRouter(ip("::1")) }, KindOptionValue, "wire: option 38: ::1 is not an IPv4 address"},
		{"IPv4 link-local", func(m *Message) { m.AddLinkLocal(ip("169.254.1.1")) }, KindOptionValue, "wire: option 26: 169.254.1.1 is not an IPv6 address"},
		{"raw option too long", func(m *Message) { m.AddOption(Option{200, long}) }, KindOptionValue, "wire: option 200: 256 bytes, at most 255"},
		{"Pad1 with data", func(m *Message) { m.AddOption(Option{OptPad1, long[:1]}) }, KindOptionValue, "wire: option 0: 1 bytes, at most 0"},
		{"raw option too short", func(m *Message) { m.AddOption(Option{OptVMAddress, long[:17]}) }, KindOptionShort, "wire: option 22: length 17, want at least 18"},
		{"vendor data too long", func(m *Message) { m.AddVendor(Vendor{Data: long[:251]}) }, KindOptionValue, "wire: option 19: vendor data too long"},
		{"our epoch too short", func(m *Message) { m.AddVendor(Vendor{DefaultEnterprise, VendorEpoch, long[:3]}) }, KindOptionShort, "wire: option 19: length 8, want at least 9"},
		{"our epoch too short, raw", func(m *Message) { m.AddOption(Option{OptVendor, []byte{0, 0, 0x7e, 0xd9, 2}}) }, KindOptionShort, "wire: option 19: length 5, want at least 9"},
		{"authenticator too long", func(m *Message) { m.AddAuthentication(Authentication{Authenticator: long[:251]}) }, KindOptionValue, "wire: option 9: authenticator too long"},
		{"option behind the authenticator", func(m *Message) {
			m.AddAuthentication(Authentication{Authenticator: long[:16]})
			m.AddEpoch(1)
		}, KindOptionAfterAuth, "wire: option 19: behind the authenticator, at byte 40"},
		{"too many options", func(m *Message) {
			for range 9 {
				m.AddOption(Option{200, long[:255]})
			}
		}, KindMessageTooLong, "wire: message of 2066 bytes, at most 2048"},
		{"options of no message", func(m *Message) { m.Reset(9); m.AddEpoch(1) }, KindUnencodable, "wire: cannot add options to a message of type 9"},
		{"no message", func(m *Message) { m.Reset(9) }, KindUnencodable, "wire: cannot encode a message of type 9"},
	}
	for _, r := range rows {
		m := new(Message)
		m.Reset(TypeRequest)
		r.add(m)
		m.AddHandoffIndicator(mobility.HandoffNew) // the first error stays
		dst := []byte{1, 2, 3}
		out, err := m.Append(dst)
		if r.name == "no message" {
			m.Reset(9)
			out, err = m.Append(dst)
		}
		if !errors.Is(err, r.kind) || err.Error() != r.text {
			t.Errorf("%s: %v, want %s", r.name, err, r.text)
		}
		if d := cmp.Diff(dst, out); d != "" {
			t.Errorf("%s: dst changed: %s", r.name, d)
		}
		m.Reset(TypeRequest)
		if _, err := m.Append(nil); err != nil || m.Err() != nil {
			t.Errorf("%s: the error outlives Reset: %v", r.name, err)
		}
	}
}

func TestLargestMessage(t *testing.T) {
	m := new(Message)
	m.Reset(TypeRequest)
	for range 7 {
		m.AddOption(Option{200, make([]byte, 255)})
	}
	m.AddOption(Option{200, make([]byte, MaxLen-12-7*257-2)})
	b := mustAppend(t, m)
	if len(b) != MaxLen || b[1] != 255 {
		t.Fatalf("%d bytes, header length %d", len(b), b[1])
	}
	if d := diff(b, mustAppend(t, mustParse(t, b))); d != "" {
		t.Error(d)
	}
	m.AddOption(Option{})
	if _, err := m.Append(nil); !errors.Is(err, KindMessageTooLong) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestAddressesAndPairsKeepTheirOrder(t *testing.T) {
	m := new(Message)
	m.Reset(TypeRequest)
	for _, s := range []string{"192.0.2.1", "2001:db8::1", "198.51.100.1", "2001:db8::2"} {
		m.AddAddress(ip(s))
	}
	if d := cmp.Diff("[{2001:db8::1 128} {2001:db8::2 128} {192.0.2.1 32} {198.51.100.1 32}]", fmt.Sprint(m.AppendAddresses(nil))); d != "" {
		t.Errorf("addresses (-want +got)\n%s", d)
	}
	pairs, ok := m.AppendPairs(nil)
	if d := cmp.Diff("[{2001:db8::1 2001:db8::2} {192.0.2.1 198.51.100.1}] true", fmt.Sprint(pairs, ok)); d != "" {
		t.Errorf("pairs (-want +got)\n%s", d)
	}
	for _, odd := range []string{"192.0.2.9", "2001:db8::9"} {
		m.Reset(TypeRequest)
		m.AddPair(mobility.Pair{Old: oldA, New: oldB})
		m.AddAddress(ip(odd))
		if pairs, ok := m.AppendPairs(make([]mobility.Pair, 1)); ok || len(pairs) != 1 {
			t.Errorf("odd number with %s: %v, %v", odd, pairs, ok)
		}
	}
}

func TestEnterpriseSelectsOurOptions(t *testing.T) {
	m := &Message{Enterprise: 4242}
	m.Reset(TypeRequest)
	m.AddEpoch(7)
	b := mustAppend(t, m)
	p := mustParse(t, b)
	if e, ok := p.Epoch(); ok {
		t.Errorf("epoch %d read under the default enterprise", e)
	}
	p.Enterprise = 4242
	if err := p.Parse(b); err != nil {
		t.Fatal(err)
	}
	if e, ok := p.Epoch(); !ok || e != 7 {
		t.Errorf("epoch %d, %v, want 7", e, ok)
	}
	short := filled(ourVendor(VendorTicket, 1))
	if err := p.Parse(short); err != nil {
		t.Errorf("another vendor's short option: %v", err)
	}
}

func TestAddToParsedMessage(t *testing.T) {
	v := vectorNamed(t, "11_heartbeat_req")
	before := hex.EncodeToString(v.MH)
	m := mustParse(t, v.MH)
	m.AddNonce(theNonce)
	m.Checksum = 0
	b := mustAppend(t, m)
	if d := cmp.Diff(before, hex.EncodeToString(v.MH)); d != "" {
		t.Errorf("the parsed bytes were written to:\n%s", d)
	}
	if n, ok := mustParse(t, b).Nonce(); !ok || n != theNonce {
		t.Errorf("nonce %v, %v", n, ok)
	}
}

func TestOptionsIterator(t *testing.T) {
	m := mustParse(t, vectorNamed(t, "12_heartbeat_rsp").MH)
	var got []string
	for o := range m.Options() {
		got = append(got, fmt.Sprintf("%s %x", o.Type, o.Data))
	}
	if d := cmp.Diff([]string{"PadN ", "Restart Counter 00000003", "PadN 0000"}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for o := range m.Options() {
		if o.Type != OptPadN {
			t.Fatal("did not stop")
		}
		break
	}
}
