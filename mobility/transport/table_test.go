package transport

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

func udpInjector(t testing.TB, s *space, from netip.AddrPort) func(to netip.Addr, b []byte) {
	t.Helper()
	var pc net.PacketConn
	var err error
	s.do(func() { pc, err = net.ListenPacket("udp4", from.String()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return func(to netip.Addr, b []byte) {
		t.Helper()
		if _, err := pc.WriteTo(b, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, Port))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewTableRefuses(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		want  string
		peers []Peer
	}{
		{"not a locator", []Peer{{Addr: netip.MustParseAddr("ff02::1")}}},
		{"not a locator", []Peer{{Addr: netip.MustParseAddr("fe80::1%eth0")}}},
		{"given twice", []Peer{{Addr: addrA}, {Addr: addrA}}},
		{"given twice", []Peer{{Addr: addrA4}, {Addr: netip.MustParseAddr("::ffff:192.0.2.10")}}},
		{"SPI 1001 is in use", []Peer{{Addr: addrA, Receive: []Key{aToM}, Send: aToM}}},
		{"SPI 1001 is in use", []Peer{{Addr: addrA, Receive: []Key{aToM}}, {Addr: addrB, Receive: []Key{aToM}}}},
		{"at most 2", []Peer{{Addr: addrA, Receive: []Key{aToM, bToM, mToA}}}},
		{"SPI 255", []Peer{{Addr: addrA, Receive: []Key{sha(255, "x")}}}},
		{"empty secret", []Peer{{Addr: addrA, Send: sha(300, "")}}},
		{"algorithm", []Peer{{Addr: addrA, Send: Key{SPI: 300, Secret: []byte("x")}}}},
	} {
		_, err := NewTable(r.peers, false)
		if err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%v: error %v, want %q", r.peers, err, r.want)
		}
	}
}

func TestSignKeepsToTheLimit(t *testing.T) {
	t.Parallel()
	key, err := wire.NewKey(300, wire.HMACSHA256, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	s := &socket{local: addrM}
	reply := build(t, wire.TypeReply, func(m *wire.Message) { m.Reply.Status = 146 })
	tab := table(t, Peer{Addr: addrA, Receive: []Key{aToM}, Send: mToA})
	for _, r := range []struct{ limit, size int }{{0, 40}, {40, 40}, {39, 16}, {16, 16}} {
		b, err := s.sign(key, &registration.Send{To: addrA, Payload: reply, Limit: r.limit}, nil)
		if err != nil || len(b) != r.size {
			t.Errorf("limit %d: %d bytes, %v; want %d", r.limit, len(b), err, r.size)
		}
	}
	s.grow(0)
	if why, err := s.prepare(tab, &registration.Send{To: addrA, Payload: reply, Limit: 15}, 0); why != sendLimit || err == nil {
		t.Errorf("limit 15: %v, %v, want the message not to be sent", why, err)
	}
}

func TestBudgets(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	r := Rate{PerSecond: 2, Burst: 3}
	var b bucket
	take := func(at time.Duration) (n int) {
		for b.take(now.Add(at), r) {
			n++
		}
		return n
	}
	for _, step := range []struct {
		at   time.Duration
		want int
	}{{0, 3}, {400 * time.Millisecond, 0}, {time.Second, 2}, {time.Hour, 3}, {time.Minute, 0}} {
		if got := take(step.at); got != step.want {
			t.Errorf("after %v: %d taken, want %d", step.at, got, step.want)
		}
	}
	if !b.take(now, Rate{PerSecond: -1}) {
		t.Error("a rate without limit refused")
	}
}
