package bench

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// vector20 is that of the protocol profile: the COMMIT of a move, the largest
// usual message.
const vector20 = "3b1a0500308c000782000384081001766d31406463312e6578616d706c650104000000001612008020010db8000a0100000000000000004217020003180200011908" +
	"00005254001234561b0800006955b90100000100131500007ed90100112233445566778899aabbccddeeff00130900007ed9020000000200130a00007ed903030102" +
	"0102132500007ed90420010db8000a0100000000000000004220010db8000b000d000000007a31870200130d00007ed9060001020304050607010200000915010000" +
	"1002e78b18289adea4571df0a15287e8c455"

// codec measures the Mobility Header codec.
func codec(_ context.Context, o *Options) ([]Figure, error) {
	b, err := hex.DecodeString(vector20)
	if err != nil {
		return nil, fmt.Errorf("bench: vector 20: %w", err)
	}
	v, err := newCoded(buildCommit)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(b, v.bytes[:1]) || !bytes.Contains(b, v.bytes[12:len(v.bytes)-8]) {
		return nil, errors.New("bench: the message built is not vector 20")
	}
	v.bytes = b // signed
	pairs, err := newCoded(buildPairs)
	if err != nil {
		return nil, err
	}
	var out []Figure
	for _, c := range []struct {
		name  string
		limit float64
		f     func() error
	}{
		{"decode vector 20 and read every value", 500, v.decode},
		{"encode vector 20", 500, v.encode},
		{"decode 16 pairs and read them", 2000, pairs.decode},
		{"encode 16 pairs", 2000, pairs.encode},
	} {
		var ns Samples
		allocs := 0.0
		for range o.rounds(10) {
			got, err := perCall(c.f)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			ns, allocs = append(ns, got.ns), max(allocs, got.allocs)
		}
		out = append(out, ns.median(c.name, "ns").atMost(c.limit), value(c.name, "allocations", allocs).atMost(0))
	}
	return out, nil
}

// coded is a message, the way to build it, and room for what is read from it.
type coded struct {
	build      func(*wire.Message)
	bytes, buf []byte
	in, out    wire.Message
	addrs      []wire.VMAddress
	pairs      []mobility.Pair
	deliveries []mobility.Delivery
}

func newCoded(build func(*wire.Message)) (*coded, error) {
	c := &coded{
		build: build, buf: make([]byte, 0, wire.MaxLen), addrs: make([]wire.VMAddress, 0, 2*mobility.MaxOldAddresses),
		pairs: make([]mobility.Pair, 0, mobility.MaxOldAddresses), deliveries: make([]mobility.Delivery, 0, mobility.MaxOldAddresses),
	}
	if err := c.encode(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	c.bytes = bytes.Clone(c.buf)
	return c, nil
}

// decode parses the message and reads every value that a program asks for.
func (c *coded) decode() error {
	m := &c.in
	if err := m.Parse(c.bytes); err != nil {
		return err
	}
	m.Identifier()
	m.HandoffIndicator()
	m.LinkLayerID()
	m.Timestamp()
	m.Ticket()
	m.Epoch()
	m.Move()
	m.Nonce()
	m.SlotCount()
	m.AlternateCareOf()
	c.addrs = m.AppendAddresses(c.addrs[:0])
	c.pairs, _ = m.AppendPairs(c.pairs[:0])
	c.deliveries = m.AppendDeliveries(c.deliveries[:0])
	if len(c.addrs) == 0 {
		return errors.New("no address was read")
	}
	return nil
}

// encode builds the message from its values and writes it, unsigned.
func (c *coded) encode() (err error) {
	c.build(&c.out)
	c.buf, err = c.out.Append(c.buf[:0])
	return err
}

// Values of the messages.
var (
	codedVM     = mobility.NAI("vm1@dc1.example")
	codedOld    = netip.MustParseAddr("2001:db8:a:100::42")
	codedD      = netip.MustParseAddr("2001:db8:b:d::7a31:8702")
	codedTicket = mobility.Ticket{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	codedMove   = mobility.MoveOptions{
		Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectTranslated, New: mobility.PolicyRedirect,
	}
)

const codedTime = 1767225601 << 16

// buildCommit builds vector 20.
func buildCommit(m *wire.Message) {
	m.Reset(wire.TypeRequest)
	m.Request = wire.Request{Sequence: 7, Flags: wire.RequestAck | wire.RequestProxy, Lifetime: 900}
	m.AddVMID(codedVM)
	m.AddAddress(codedOld)
	m.AddHandoffIndicator(mobility.HandoffMove)
	m.AddAccessTechnology(wire.AccessVirtual)
	m.AddLinkLayerID(mobility.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56})
	m.AddTimestamp(codedTime)
	m.AddTicket(codedTicket)
	m.AddEpoch(2)
	m.AddMove(codedMove.WithPhase(mobility.PhaseCommit))
	m.AddDelivery(mobility.Delivery{Old: codedOld, D: codedD})
	m.AddNonce(mobility.Nonce{0, 1, 2, 3, 4, 5, 6, 7})
}

// buildPairs builds a PREPARE for a VM with as many old addresses as it may
// have.
func buildPairs(m *wire.Message) {
	m.Reset(wire.TypeRequest)
	m.Request = wire.Request{Sequence: 1, Flags: wire.RequestAck | wire.RequestProxy, Lifetime: 75}
	m.AddVMID(codedVM)
	a := codedOld.As16()
	for i := range mobility.MaxOldAddresses {
		a[15] = byte(i)
		m.AddPair(mobility.Pair{Old: netip.AddrFrom16(a), New: codedD})
	}
	m.AddTimestamp(codedTime)
	m.AddTicket(codedTicket)
	m.AddEpoch(2)
	m.AddMove(codedMove.WithPhase(mobility.PhasePrepare))
}
