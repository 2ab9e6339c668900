package software

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/dpmip/dpmip/hwabstraction"
)

// layoutVersion names the layouts of bpf/types.h; pins of another version are
// not touched.
const layoutVersion = 1

// addr16 is struct addr: IPv6, or IPv4 mapped into ::ffff:0:0/96.
type addr16 [16]byte

func toAddr16(a netip.Addr) addr16 {
	if !a.IsValid() {
		return addr16{}
	}
	return a.As16()
}

func (a addr16) addr() netip.Addr {
	if a == (addr16{}) {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a).Unmap()
}

const ruleHold = 1

// ruleSlot is struct rule.
type ruleSlot struct {
	Kind, Flags, Policy, Proto uint8
	Inst                       uint32
	Addr, To, Locator          addr16
	Owner                      [16]byte
	Epoch                      uint32
	Ifindex                    uint32
	MAC                        [6]byte
	MTU                        uint16
	Port                       [16]byte
	Rate                       uint32
	Zone                       uint16
	Bits, Used                 uint8
	TAT                        uint64
	Counter                    uint32
	DstPort                    uint16
	_                          uint16
}

func (s *ruleSlot) stamp() hwabstraction.Stamp {
	return hwabstraction.Stamp{Owner: s.Owner, Epoch: s.Epoch}
}

func (s *ruleSlot) port() string {
	for i, b := range s.Port {
		if b == 0 {
			return string(s.Port[:i])
		}
	}
	return string(s.Port[:])
}

// head is the first word: the kind is written last and cleared first.
func (s *ruleSlot) head() *uint32 { return (*uint32)(unsafe.Pointer(s)) }

func (s *ruleSlot) publish(v *ruleSlot) {
	head := binary.NativeEndian.Uint32([]byte{v.Kind, v.Flags, v.Policy, v.Proto})
	v.Kind, v.Flags, v.Policy, v.Proto = 0, 0, 0, 0
	v.Used = 1
	*s = *v
	atomic.StoreUint32(s.head(), head)
}

func (s *ruleSlot) clear() { atomic.StoreUint32(s.head(), 0) }

// State bits of a group, struct inst.
const (
	instArmed = 1 << iota
	instActive
	instReturning
	instHold
	instOverflow
)

// Values of instSlot.Used.
const (
	instNever = iota
	instUsed
	instFree
)

// instSlot is struct inst.
type instSlot struct {
	State, HoldIfindex       uint32
	Owner                    [16]byte
	Epoch, Used              uint32
	ArmedAt, FirstHit        uint64
	LimitPackets, LimitBytes uint32
	LimitTime                uint64
	Held, HeldBytes          uint64
	HoldDrops, FirstHeld     uint64
	ReleasedAt               uint64
	Entered, Left            uint64
	Flows, Serial            uint32
	Wall                     uint64
	CPU, _                   uint32
}

func (g *instSlot) stamp() hwabstraction.Stamp {
	return hwabstraction.Stamp{Owner: g.Owner, Epoch: g.Epoch}
}

func (g *instSlot) state() uint32     { return atomic.LoadUint32(&g.State) }
func (g *instSlot) set(bits uint32)   { atomic.OrUint32(&g.State, bits) }
func (g *instSlot) unset(bits uint32) { atomic.AndUint32(&g.State, ^bits) }

// dstEntry is struct dst.
type dstEntry struct{ Redirect, Deliver, Traps uint32 }

type counterValue struct{ Packets, Bytes, Last uint64 }

type egressKey struct {
	Addr    addr16
	Ifindex uint32
	_       uint32
}

type trapKey struct {
	Addr  addr16
	Class uint32
	_     uint32
}

type portValue struct {
	MAC [6]byte
	_   uint16
}

type flowKey struct {
	VM, Peer         addr16
	Serial           uint32
	VMPort, PeerPort uint16 // big-endian
	Proto            uint32
	_                uint32
}

// Drop reasons, enum drop; the names are part of the contract.
var dropNames = [...]string{
	"source_guard", "hold_full", "new_flow", "hop_limit", "no_route",
	"too_big", "trap_rate", "trap_full", "malformed", "flow_overflow",
}

// trapMax and trapHeader describe struct trapped.
const (
	trapMax    = 2048
	trapHeader = 8
)

func portName(s string) (b [16]byte) {
	copy(b[:15], s)
	return b
}
