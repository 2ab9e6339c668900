package wire

import (
	"net/netip"
	"testing"

	"github.com/dpmip/dpmip/mobility"
)

func buildPairs(m *Message) {
	m.Reset(TypeRequest)
	m.Request = request(1, 75)
	m.AddVMID(naiID)
	for i := range mobility.MaxOldAddresses {
		a := oldA.As16()
		a[15] = byte(i)
		m.AddPair(mobility.Pair{Old: netip.AddrFrom16(a), New: deliver})
	}
	m.AddTimestamp(1767225601 << 16)
	m.AddTicket(ticket)
	m.AddEpoch(2)
	m.AddMove(theMove)
}

// TestNoAllocations holds every step of a message's way to no allocation once
// the Message and the buffer are warm.
func TestNoAllocations(t *testing.T) {
	v := vectorNamed(t, "20_commit")
	k := newKey(t, 0x1002, HMACSHA256)
	m, b := new(Message), new(Message)
	buf := make([]byte, 0, MaxLen)
	addrs, pairs := make([]VMAddress, 0, 32), make([]mobility.Pair, 0, 16)
	deliveries := make([]mobility.Delivery, 0, 16)
	var err error
	steps := []struct {
		name string
		f    func()
	}{
		{"parse", func() { err = m.Parse(v.MH) }},
		{"encode what was parsed", func() { buf, err = m.Append(buf[:0]) }},
		{"verify", func() { err = k.Verify(m, v.CareOf) }},
		{"read", func() {
			m.Identifier()
			m.Timestamp()
			m.Ticket()
			m.Move()
			addrs = m.AppendAddresses(addrs[:0])
			deliveries = m.AppendDeliveries(deliveries[:0])
			for o := range m.Options() {
				_ = o.Data
			}
		}},
		{"build and encode", func() { buildCommit(b); buf, err = b.Append(buf[:0]) }},
		{"build and sign", func() { buildCommit(b); buf, err = b.AppendSigned(buf[:0], k, v.CareOf) }},
		{"build 16 pairs", func() { buildPairs(b); buf, err = b.Append(buf[:0]) }},
		{"parse 16 pairs", func() {
			if err = b.Parse(buf); err == nil {
				pairs, _ = b.AppendPairs(pairs[:0])
			}
		}},
		{"checksum", func() { SetChecksum(buf, v.Src, v.Dst); err = VerifyChecksum(buf, v.Src, v.Dst) }},
	}
	for _, s := range steps {
		s.f() // warm
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if n := testing.AllocsPerRun(100, s.f); n != 0 {
			t.Errorf("%s: %v allocations", s.name, n)
		}
	}
	if len(pairs) != mobility.MaxOldAddresses {
		t.Errorf("%d pairs, want %d", len(pairs), mobility.MaxOldAddresses)
	}
}

func BenchmarkParse20(b *testing.B) {
	v, m := vectorNamed(b, "20_commit"), new(Message)
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Parse(v.MH); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead20 reads every value of vector 20 after parsing it.
func BenchmarkRead20(b *testing.B) {
	v, m := vectorNamed(b, "20_commit"), new(Message)
	addrs, deliveries := make([]VMAddress, 0, 8), make([]mobility.Delivery, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Parse(v.MH); err != nil {
			b.Fatal(err)
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
		addrs = m.AppendAddresses(addrs[:0])
		deliveries = m.AppendDeliveries(deliveries[:0])
	}
}

// BenchmarkEncode20 builds vector 20 from its values and encodes it, unsigned.
func BenchmarkEncode20(b *testing.B) {
	m, buf := new(Message), make([]byte, 0, MaxLen)
	b.ReportAllocs()
	for b.Loop() {
		buildCommit(m)
		var err error
		if buf, err = m.Append(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign20(b *testing.B) {
	m, buf, k := new(Message), make([]byte, 0, MaxLen), newKey(b, 0x1002, HMACSHA256)
	buildCommit(m)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = m.AppendSigned(buf[:0], k, oldA); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify20(b *testing.B) {
	v, k := vectorNamed(b, "20_commit"), newKey(b, 0x1002, HMACSHA256)
	m := mustParse(b, v.MH)
	b.ReportAllocs()
	for b.Loop() {
		if err := k.Verify(m, v.CareOf); err != nil {
			b.Fatal(err)
		}
	}
}

// Benchmark16Pairs builds, encodes, parses and reads a message with 16 pairs.
func Benchmark16Pairs(b *testing.B) {
	m, p, buf := new(Message), new(Message), make([]byte, 0, MaxLen)
	pairs := make([]mobility.Pair, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		buildPairs(m)
		var err error
		if buf, err = m.Append(buf[:0]); err != nil {
			b.Fatal(err)
		}
		if err := p.Parse(buf); err != nil {
			b.Fatal(err)
		}
		pairs, _ = p.AppendPairs(pairs[:0])
	}
}
