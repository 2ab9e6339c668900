package wire

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
)

// FuzzParse holds three properties of any bytes: no panic; what parses is
// encoded to the same bytes; and a message built from what the typed accessors
// say of it says the same again.
func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.MH))
	}
	for _, r := range malformedRows(f) {
		f.Add(r.b)
	}
	var m Message // reused, as a receiver does
	f.Fuzz(func(t *testing.T, b []byte) {
		if m.Parse(b) != nil {
			return
		}
		out, err := m.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(append([]byte("before"), b...), out); d != "" {
			t.Fatalf("(-want +got)\n%s", d)
		}
		checkRebuilt(t, &m)
	})
}

func checkRebuilt(t *testing.T, m *Message) {
	again := new(Message)
	rebuild(again, m)
	b, err := again.Append(nil)
	if DropReason(err) == "message_too_long" {
		return // its pads were tighter than ours
	}
	if err != nil {
		t.Fatal(err)
	}
	p := mustParse(t, b)
	if d := cmp.Diff(said(m), said(p)); d != "" {
		t.Fatalf("(-first +rebuilt)\n%s", d)
	}
}

// said is everything a reader can learn from m, apart from what the rebuilding
// drops: pads, authentication, reserved bytes within options and what options
// have beyond the lengths known.
func said(m *Message) []string {
	pairs, ok := m.AppendPairs(nil)
	s := []string{
		fmt.Sprint(m.Type, m.Reserved, m.Request, m.Reply, m.BindingError, m.Heartbeat, m.Revocation, m.UpdateNotification, m.UpdateAck),
		fmt.Sprint(m.IsAnswer(), m.CareOf(oldA, oldB)),
		fmt.Sprint(m.VMID()), fmt.Sprint(m.AppendAddresses(nil)), fmt.Sprint(pairs, ok), fmt.Sprint(m.AppendDeliveries(nil)),
		fmt.Sprint(m.RefreshAdvice()), fmt.Sprint(m.AlternateCareOf()), fmt.Sprint(m.ReplayProtection()),
		fmt.Sprint(m.HandoffIndicator()), fmt.Sprint(m.AccessTechnology()), fmt.Sprint(m.LinkLayerID()),
		fmt.Sprint(m.LinkLocal()), fmt.Sprint(m.Timestamp()), fmt.Sprint(m.RestartCounter()), fmt.Sprint(m.DefaultRouter()),
		fmt.Sprint(m.Ticket()), fmt.Sprint(m.Epoch()), fmt.Sprint(m.Move()), fmt.Sprint(m.Nonce()), fmt.Sprint(m.SlotCount()),
	}
	for o := range m.Options() {
		if !o.Type.Known() {
			s = append(s, fmt.Sprint(o))
		}
	}
	return s
}

// FuzzBuild builds messages from arbitrary values: either it is refused, or it
// parses and verifies.
func FuzzBuild(f *testing.F) {
	f.Add(uint8(TypeRequest), "vm1@dc1.example", []byte{1, 2, 3, 4}, uint8(22), []byte("0123456789abcdef01"), uint8(2))
	f.Add(uint8(TypeHeartbeat), "", []byte{}, uint8(0), []byte{}, uint8(0))
	f.Add(uint8(TypeBindingError), "a@b", bytes.Repeat([]byte{7}, 16), uint8(200), make([]byte, 255), uint8(9))
	k := newKey(f, 256, HMACSHA256)
	f.Fuzz(func(t *testing.T, typ uint8, id string, addr []byte, optType uint8, data []byte, repeat uint8) {
		m := new(Message)
		m.Reset(Type(typ))
		if id != "" {
			m.AddVMID(mobility.NAI(id))
		}
		a, _ := netip.AddrFromSlice(addr)
		for range repeat % 16 {
			m.AddAddress(a)
			m.AddOption(Option{Type: OptionType(optType), Data: data})
		}
		b, err := m.AppendSigned(nil, k, oldA)
		if err != nil {
			return
		}
		p := new(Message)
		if err := p.Parse(b); err != nil {
			t.Fatalf("%v\n%x", err, b)
		}
		if err := k.Verify(p, oldA); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCorpusIsThere keeps the committed corpus from being lost.
func TestCorpusIsThere(t *testing.T) {
	for _, dir := range []string{"FuzzParse", "FuzzBuild"} {
		if files, err := os.ReadDir("testdata/fuzz/" + dir); err != nil || len(files) == 0 {
			t.Errorf("testdata/fuzz/%s: %d files, %v", dir, len(files), err)
		}
	}
}
