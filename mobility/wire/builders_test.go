package wire

import (
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
)

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
