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

// Decoding and encoding are measured by "dpmip-lab bench".

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
