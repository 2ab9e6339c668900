package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
)

// vector is one byte-exact message of testdata/vectors.json.
type vector struct {
	Name   string
	Src    netip.Addr
	Dst    netip.Addr
	MH     hexBytes
	Key    hexBytes
	CareOf netip.Addr `json:"care_of"`
	Note   string
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) < 14 {
		t.Fatalf("only %d vectors", len(vs))
	}
	return vs
}

func vectorNamed(t testing.TB, name string) vector {
	t.Helper()
	for _, v := range vectors(t) {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no vector %s", name)
	return vector{}
}

func diff(want, got []byte) string { return cmp.Diff(hex.Dump(want), hex.Dump(got)) }

// mustAppend encodes m and fails the test otherwise.
func mustAppend(t testing.TB, m *Message) []byte {
	t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustParse(t testing.TB, b []byte) *Message {
	t.Helper()
	m := new(Message)
	if err := m.Parse(b); err != nil {
		t.Fatal(err)
	}
	return m
}

func testKey(t testing.TB, spi uint32, secret []byte) *Key {
	t.Helper()
	k, err := NewKey(spi, HMACSHA256, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestVectorsDecodeAndEncode(t *testing.T) {
	var m Message // one for all: reuse must leave nothing behind
	for _, v := range vectors(t) {
		if err := m.Parse(v.MH); err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if d := diff(v.MH, mustAppend(t, &m)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", v.Name, d)
		}
		if err := VerifyChecksum(v.MH, v.Src, v.Dst); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		if err := VerifyChecksum(v.MH, v.Src, netip.MustParseAddr("2001:db8::bad")); DropReason(err) != "checksum" {
			t.Errorf("%s: checksum holds for another destination: %v", v.Name, err)
		}
	}
}

func TestVectorsAuthenticate(t *testing.T) {
	signed := 0
	for _, v := range vectors(t) {
		if v.Key == nil {
			continue
		}
		signed++
		t.Run(v.Name, func(t *testing.T) {
			m := mustParse(t, v.MH)
			a, ok := m.Authentication()
			if !ok {
				t.Fatal("no authentication option")
			}
			if got := m.CareOf(v.Src, v.Dst); got != v.CareOf {
				t.Errorf("care-of address %s, want %s", got, v.CareOf)
			}
			k := testKey(t, a.SPI, v.Key)
			if err := k.Verify(m, v.CareOf); err != nil {
				t.Error(err)
			}
			if err := k.Verify(m, netip.MustParseAddr("2001:db8::bad")); DropReason(err) != "auth_mismatch" {
				t.Errorf("verifies for another care-of address: %v", err)
			}
			b := new(Message)
			rebuild(b, m)
			out, err := b.AppendSigned(nil, k, v.CareOf)
			if err != nil {
				t.Fatal(err)
			}
			SetChecksum(out, v.Src, v.Dst)
			if d := diff(v.MH, out); d != "" {
				t.Errorf("signed again (-want +got)\n%s", d)
			}
		})
	}
	if signed != 3 {
		t.Errorf("%d signed vectors, want 3", signed)
	}
}

// TestVectorsBuildFromWhatTheySay builds every vector again from the typed
// values that the accessors give.
func TestVectorsBuildFromWhatTheySay(t *testing.T) {
	for _, v := range vectors(t) {
		m, b := mustParse(t, v.MH), new(Message)
		rebuild(b, m)
		if a, ok := m.Authentication(); ok {
			b.AddAuthentication(a)
		}
		out := mustAppend(t, b)
		SetChecksum(out, v.Src, v.Dst)
		if d := diff(v.MH, out); d != "" {
			t.Errorf("%s: (-want +got)\n%s", v.Name, d)
		}
	}
}

// rebuild makes b say what m says, option by option through the typed accessors
// and constructors, without pads and authentication.
func rebuild(b, m *Message) {
	b.Enterprise = m.Enterprise
	b.Reset(m.Type)
	b.Reserved = m.Reserved
	b.Request, b.Reply, b.BindingError, b.Heartbeat = m.Request, m.Reply, m.BindingError, m.Heartbeat
	b.Revocation, b.UpdateNotification, b.UpdateAck = m.Revocation, m.UpdateNotification, m.UpdateAck
	one := &Message{Enterprise: m.Enterprise}
	for o := range m.Options() {
		one.Reset(TypeRequest)
		one.AddOption(o)
		rebuildOption(b, one, o)
	}
}

// rebuildOption adds to b what the only option of m, which is o, says.
func rebuildOption(b, m *Message, o Option) {
	switch o.Type {
	case OptPad1, OptPadN, OptAuthentication:
	case OptRefreshAdvice:
		v, _ := m.RefreshAdvice()
		b.AddRefreshAdvice(v)
	case OptAlternateCareOf:
		v, _ := m.AlternateCareOf()
		b.AddAlternateCareOf(v)
	case OptVMID:
		if v, _ := m.VMID(); v.Validate() == nil {
			b.AddVMID(v)
		} else {
			b.AddOption(o)
		}
	case OptReplayProtection:
		v, _ := m.ReplayProtection()
		b.AddReplayProtection(v)
	case OptVendor:
		rebuildVendor(b, m, o)
	case OptVMAddress, OptVMIPv4Address:
		if v := m.AppendAddresses(nil)[0]; v.Addr.Is4In6() {
			b.AddOption(o)
		} else {
			b.AddVMAddress(v)
		}
	case OptHandoffIndicator:
		v, _ := m.HandoffIndicator()
		b.AddHandoffIndicator(v)
	case OptAccessTechnology:
		v, _ := m.AccessTechnology()
		b.AddAccessTechnology(v)
	case OptLinkLayerID:
		if v, ok := m.LinkLayerID(); ok {
			b.AddLinkLayerID(v)
		} else {
			b.AddOption(o)
		}
	case OptLinkLocal:
		v, _ := m.LinkLocal()
		b.AddLinkLocal(v)
	case OptTimestamp:
		v, _ := m.Timestamp()
		b.AddTimestamp(v)
	case OptRestartCounter:
		v, _ := m.RestartCounter()
		b.AddRestartCounter(v)
	case OptDefaultRouter:
		v, _ := m.DefaultRouter()
		b.AddDefaultRouter(v)
	default:
		b.AddOption(o)
	}
}

func rebuildVendor(b, m *Message, o Option) {
	if v, ok := m.Ticket(); ok {
		b.AddTicket(v)
	} else if v, ok := m.Epoch(); ok {
		b.AddEpoch(v)
	} else if v, ok := m.Move(); ok {
		b.AddMove(v)
	} else if v := m.AppendDeliveries(nil); len(v) > 0 {
		b.AddDelivery(v[0])
	} else if v, ok := m.Nonce(); ok {
		b.AddNonce(v)
	} else if v, ok := m.SlotCount(); ok {
		b.AddSlotCount(v)
	} else if v, ok := ParseVendor(o); ok {
		b.AddVendor(v)
	}
}

// Values that the vectors share.
var (
	uuidID   = mobility.VMID{Subtype: mobility.IDDUID, Bytes: "\x00\x04\x6b\xa7\xb8\x10\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8"}
	naiID    = mobility.NAI("vm1@dc1.example")
	oldA     = netip.MustParseAddr("2001:db8:a:100::42")
	oldB     = netip.MustParseAddr("2001:db8:b:100::42")
	deliver  = netip.MustParseAddr("2001:db8:b:d::7a31:8702")
	vmMAC    = mobility.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	ticket   = mobility.Ticket{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	theMove  = mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectTranslated, New: mobility.PolicyRedirect}
	theNonce = mobility.Nonce{0, 1, 2, 3, 4, 5, 6, 7}
)

func request(seq uint16, l mobility.Lifetime) Request {
	return Request{Sequence: seq, Flags: RequestAck | RequestProxy, Lifetime: l}
}

func attach(m *Message, h mobility.HandoffIndicator) {
	m.AddHandoffIndicator(h)
	m.AddAccessTechnology(AccessVirtual)
	m.AddLinkLayerID(vmMAC)
}

// builders make each vector from values written down here, as a sender does.
var builders = map[string]func(m *Message){
	"01_regreq_create": func(m *Message) {
		m.Reset(TypeRequest)
		m.Request = request(1, 900)
		m.AddVMID(uuidID)
		m.AddAddress(oldA)
		attach(m, mobility.HandoffNew)
		m.AddTimestamp(1400000000<<16 | 0x8000)
	},
	"02_regrep_accept": func(m *Message) {
		m.Reset(TypeReply)
		m.Reply = Reply{Flags: ReplyProxy, Sequence: 1, Lifetime: 450}
		m.AddVMID(uuidID)
		m.AddAddress(oldA)
		m.AddLinkLayerID(vmMAC)
		m.AddTimestamp(1400000000<<16 | 0x8000)
	},
	"03_regreq_move": func(m *Message) {
		m.Reset(TypeRequest)
		m.Request = request(7, 900)
		m.AddVMID(uuidID)
		m.AddAddress(oldB)
		attach(m, mobility.HandoffMove)
		m.AddTimestamp(1400000060 << 16)
	},
	"04_regreq_mn_to_source_pair": func(m *Message) {
		m.Reset(TypeRequest)
		m.Request = request(100, 75)
		m.AddVMID(uuidID)
		m.AddPair(mobility.Pair{Old: oldA, New: oldB})
		attach(m, mobility.HandoffMove)
		m.AddTimestamp(1400000061 << 16)
		m.AddAlternateCareOf(netip.MustParseAddr("2001:db8:b::1"))
	},
	"05_regrep_source_to_mn": func(m *Message) {
		m.Reset(TypeReply)
		m.Reply = Reply{Flags: ReplyProxy, Sequence: 100, Lifetime: 75}
		m.AddVMID(uuidID)
		m.AddPair(mobility.Pair{Old: oldA, New: oldB})
		m.AddLinkLayerID(vmMAC)
		m.AddTimestamp(1400000061 << 16)
	},
	"06_regreq_ipv4": func(m *Message) {
		m.Reset(TypeRequest)
		m.Request = request(2, 900)
		m.AddVMID(uuidID)
		m.AddAddress(netip.MustParseAddr("192.0.2.42"))
		m.AddDefaultRouter(netip.MustParseAddr("192.0.2.1"))
		attach(m, mobility.HandoffNew)
	},
	"07_regreq_dereg": func(m *Message) {
		m.Reset(TypeRequest)
		m.Request = request(3, 0)
		m.AddVMID(uuidID)
		m.AddAddress(oldA)
		attach(m, mobility.HandoffUnknown)
	},
	"08_regrep_ts_mismatch": func(m *Message) {
		m.Reset(TypeReply)
		m.Reply = Reply{Status: mobility.StatusTimestampMismatch, Flags: ReplyProxy, Sequence: 1}
		m.AddVMID(uuidID)
		m.AddAddress(oldA)
		m.AddTimestamp(1400000005 << 16)
	},
	"11_heartbeat_req": func(m *Message) {
		m.Reset(TypeHeartbeat)
		m.Heartbeat.Sequence = 9
	},
	"12_heartbeat_rsp": func(m *Message) {
		m.Reset(TypeHeartbeat)
		m.Heartbeat = Heartbeat{Flags: HeartbeatResponse, Sequence: 9}
		m.AddRestartCounter(3)
	},
	"15_binding_error": func(m *Message) {
		m.Reset(TypeBindingError)
		m.BindingError.Status = BindingErrorUnknownType
	},
	"18_prepare_to_destination": func(m *Message) {
		m.Reset(TypeRequest)
		m.Request = request(41, 75)
		m.AddVMID(naiID)
		m.AddPair(mobility.Pair{Old: oldA, New: oldA})
		attach(m, mobility.HandoffMove)
		m.AddTimestamp(1767225600 << 16)
		m.AddTicket(ticket)
		m.AddEpoch(2)
		m.AddMove(theMove.WithPhase(mobility.PhasePrepare))
		m.AddAlternateCareOf(netip.MustParseAddr("2001:db8:a::1"))
	},
	"19_prepare_reply": func(m *Message) {
		m.Reset(TypeReply)
		m.Reply = Reply{Flags: ReplyProxy, Sequence: 41, Lifetime: 75}
		m.AddVMID(naiID)
		m.AddTimestamp(1767225600 << 16)
		m.AddEpoch(2)
		m.AddDelivery(mobility.Delivery{Old: oldA, D: deliver})
	},
	"20_commit": buildCommit,
}

func buildCommit(m *Message) {
	m.Reset(TypeRequest)
	m.Request = request(7, 900)
	m.AddVMID(naiID)
	m.AddAddress(oldA)
	attach(m, mobility.HandoffMove)
	m.AddTimestamp(1767225601 << 16)
	m.AddTicket(ticket)
	m.AddEpoch(2)
	m.AddMove(theMove.WithPhase(mobility.PhaseCommit))
	m.AddDelivery(mobility.Delivery{Old: oldA, D: deliver})
	m.AddNonce(theNonce)
}

func TestVectorsBuildFromTypedFields(t *testing.T) {
	spis := map[string]uint32{"18_prepare_to_destination": 0x1001, "19_prepare_reply": 0x1002, "20_commit": 0x1002}
	var m Message
	for _, v := range vectors(t) {
		build, ok := builders[v.Name]
		if !ok {
			t.Errorf("%s: no builder", v.Name)
			continue
		}
		build(&m)
		var out []byte
		var err error
		if v.Key == nil {
			out, err = m.Append(nil)
		} else {
			out, err = m.AppendSigned(nil, testKey(t, spis[v.Name], v.Key), v.CareOf)
		}
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		SetChecksum(out, v.Src, v.Dst)
		if d := diff(v.MH, out); d != "" {
			t.Errorf("%s: (-want +got)\n%s", v.Name, d)
		}
	}
}

func TestCommitSaysWhatItShould(t *testing.T) {
	m := mustParse(t, vectorNamed(t, "20_commit").MH)
	if want := request(7, 900); m.Request != want {
		t.Errorf("request %+v, want %+v", m.Request, want)
	}
	got := fmt.Sprintln(m.VMID()) + fmt.Sprintln(m.AppendAddresses(nil)) + fmt.Sprintln(m.HandoffIndicator()) +
		fmt.Sprintln(m.AccessTechnology()) + fmt.Sprintln(m.LinkLayerID()) + fmt.Sprintln(m.Timestamp()) +
		fmt.Sprintln(m.Ticket()) + fmt.Sprintln(m.Epoch()) + fmt.Sprintln(m.Move()) +
		fmt.Sprintln(m.AppendDeliveries(nil)) + fmt.Sprintln(m.Nonce())
	want := `vm1@dc1.example true
[{2001:db8:a:100::42 128}]
move true
virtual true
52:54:00:12:34:56 true
2026-01-01T00:00:01Z true
00112233445566778899aabbccddeeff true
2 true
{hot keep translated redirect commit} true
[{2001:db8:a:100::42 2001:db8:b:d::7a31:8702}]
[0 1 2 3 4 5 6 7] true
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for name, present := range map[string]bool{
		"alternate care-of": ok2(m.AlternateCareOf()), "replay protection": ok2(m.ReplayProtection()),
		"default router": ok2(m.DefaultRouter()), "slot count": ok2(m.SlotCount()),
		"refresh advice": ok2(m.RefreshAdvice()), "link-local": ok2(m.LinkLocal()), "restart counter": ok2(m.RestartCounter()),
	} {
		if present {
			t.Errorf("%s found, but it is not there", name)
		}
	}
}

func ok2[T any](_ T, ok bool) bool { return ok }
