package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	addrM  = netip.MustParseAddr("2001:db8:ff::1")
	addrA  = netip.MustParseAddr("2001:db8:a::1")
	addrB  = netip.MustParseAddr("2001:db8:b::1")
	addrC  = netip.MustParseAddr("2001:db8:c::1") // without keys
	addrX  = netip.MustParseAddr("2001:db8:66::1")
	addrM4 = netip.MustParseAddr("192.0.2.1")
	addrA4 = netip.MustParseAddr("192.0.2.10")
	all    = []netip.Addr{addrM, addrA, addrB, addrC, addrX, addrM4, addrA4}
)

// patience bounds the waits of tests; nothing depends on its length.
const patience = 20 * time.Second

func sha(spi uint32, secret string) Key {
	return Key{SPI: spi, Algorithm: wire.HMACSHA256, Secret: []byte(secret)}
}

// SPIs: 1xxx towards M, 2xxx from M.
var (
	aToM, mToA   = sha(1001, "a to m"), sha(2001, "m to a")
	bToM, mToB   = sha(1002, "b to m"), sha(2002, "m to b")
	a4ToM, mToA4 = Key{1004, wire.HMACSHA1, []byte("a4 to m")}, Key{2004, wire.HMACSHA1, []byte("m to a4")}
)

func table(t testing.TB, peers ...Peer) *Table {
	t.Helper()
	tab, err := NewTable(peers, false)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func managementTable(t testing.TB) *Table {
	return table(t,
		Peer{Addr: addrA, Receive: []Key{aToM}, Send: mToA},
		Peer{Addr: addrB, Receive: []Key{bToM}, Send: mToB},
		Peer{Addr: addrA4, Receive: []Key{a4ToM}, Send: mToA4},
		Peer{Addr: addrC})
}

func tableOfA(t testing.TB) *Table {
	return table(t, Peer{Addr: addrM, Receive: []Key{mToA}, Send: aToM}, Peer{Addr: addrM4, Receive: []Key{mToA4}, Send: a4ToM})
}

// message is a copy of what was delivered.
type message struct {
	from  netip.Addr
	typ   wire.Type
	auth  registration.Auth
	seq   uint32
	bytes []byte
}

// node is a Conn that runs, and what it delivered.
type node struct {
	*Conn
	got         chan message
	unreachable chan netip.Addr
}

func start(t testing.TB, s *space, tab *Table, change func(*Config), addrs ...netip.Addr) *node {
	t.Helper()
	n := &node{got: make(chan message, 100_000), unreachable: make(chan netip.Addr, 1000)}
	cfg := Config{Locators: addrs, LockDir: t.TempDir(), Unreachable: func(a netip.Addr) { n.unreachable <- a }}
	if change != nil {
		change(&cfg)
	}
	var err error
	s.do(func() { n.Conn, err = Open(cfg) })
	if err != nil {
		t.Fatal(err)
	}
	n.SetPeers(tab)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.Run(ctx, n.take) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := n.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return n
}

func (n *node) take(batch []registration.Inbound) {
	for _, in := range batch {
		m := message{from: in.From, typ: in.Message.Type, auth: in.Auth, bytes: bytes.Clone(in.Bytes)}
		switch m.typ {
		case wire.TypeHeartbeat:
			m.seq = in.Message.Heartbeat.Sequence
		case wire.TypeRequest:
			m.seq = uint32(in.Message.Request.Sequence)
		}
		n.got <- m
	}
}

func (n *node) next(t testing.TB) message {
	t.Helper()
	select {
	case m := <-n.got:
		return m
	case <-time.After(patience):
		t.Fatalf("nothing was delivered; counters %v", nonZero(n.Counters()))
	}
	panic("unreachable")
}

func nonZero(m map[string]uint64) map[string]uint64 {
	for k, v := range m {
		if v == 0 {
			delete(m, k)
		}
	}
	return m
}

func heartbeat(t testing.TB, seq uint32) []byte {
	return build(t, wire.TypeHeartbeat, func(m *wire.Message) { m.Heartbeat.Sequence = seq })
}

func request(t testing.TB, seq uint16) []byte {
	return build(t, wire.TypeRequest, func(m *wire.Message) {
		m.Request = wire.Request{Sequence: seq, Flags: wire.RequestAck | wire.RequestProxy, Lifetime: 10}
		m.AddVMID(mobility.NAI("vm1@dc1.example"))
		m.AddTimestamp(wire.Timestamp(1))
	})
}

func build(t testing.TB, typ wire.Type, fill func(*wire.Message)) []byte {
	t.Helper()
	var m wire.Message
	m.Reset(typ)
	fill(&m)
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// signed gives payload as a node at from would send it to to.
func signed(t testing.TB, k Key, payload []byte, from, to netip.Addr) []byte {
	t.Helper()
	key, err := wire.NewKey(k.SPI, k.Algorithm, k.Secret)
	if err != nil {
		t.Fatal(err)
	}
	s := &socket{local: from}
	b, err := s.sign(key, &registration.Send{To: to, Payload: payload}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// injector opens a raw socket of protocol 135 at an address: it sends anything.
func injector(t testing.TB, s *space, a netip.Addr) func(to netip.Addr, b []byte) {
	t.Helper()
	var pc net.PacketConn
	var err error
	s.do(func() { pc, err = net.ListenPacket("ip6:135", a.String()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return func(to netip.Addr, b []byte) {
		t.Helper()
		if _, err := pc.WriteTo(b, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			t.Fatalf("inject %d bytes from %s: %v", len(b), a, err)
		}
	}
}

func TestBothTransports(t *testing.T) {
	t.Parallel()
	s := newSpace(t, all...)
	m := start(t, s, managementTable(t), nil, addrM, addrM4)
	a := start(t, s, tableOfA(t), nil, addrA, addrA4)
	for _, to := range []netip.Addr{addrM, addrM4} {
		if err := a.Send(t.Context(), []registration.Send{{To: to, Payload: request(t, 7)}}); err != nil {
			t.Fatal(err)
		}
		got := m.next(t)
		if got.auth != registration.AuthOK || got.typ != wire.TypeRequest || got.seq != 7 {
			t.Errorf("to %s: delivered %v %v seq %d", to, got.typ, got.auth, got.seq)
		}
		// And an answer, signed over its destination.
		reply := build(t, wire.TypeReply, func(m *wire.Message) { m.Reply.Sequence = 7 })
		if err := m.Send(t.Context(), []registration.Send{{To: got.from, Payload: reply}}); err != nil {
			t.Fatal(err)
		}
		if back := a.next(t); back.auth != registration.AuthOK || back.typ != wire.TypeReply || back.from != to {
			t.Errorf("back from %s: %v %v from %s", to, back.typ, back.auth, back.from)
		}
	}
}

func TestBatchKeepsOrder(t *testing.T) {
	t.Parallel()
	s := newSpace(t, all...)
	m := start(t, s, managementTable(t), nil, addrM)
	a := start(t, s, tableOfA(t), func(c *Config) { c.Batch = 16 }, addrA)
	var batch []registration.Send
	for i := range 100 {
		batch = append(batch, registration.Send{To: addrM, Payload: heartbeat(t, uint32(i))})
	}
	if err := a.Send(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if got := m.next(t); got.seq != uint32(i) || got.auth != registration.AuthOK {
			t.Fatalf("message %d: sequence %d, %v", i, got.seq, got.auth)
		}
	}
	if got := a.Counters()["sent"]; got != 100 {
		t.Errorf("sent counts %d, want 100", got)
	}
}

func TestUnreachableIsReportedAndSurvived(t *testing.T) {
	t.Parallel()
	s := newSpace(t, all...)
	m := start(t, s, managementTable(t), nil, addrM)
	for range 3 { // an error of one message never costs the next
		began := time.Now()
		if err := m.Send(t.Context(), []registration.Send{{To: addrA, Payload: heartbeat(t, 1)}}); err != nil {
			t.Fatal(err)
		}
		select {
		case a := <-m.unreachable:
			t.Logf("told after %v", time.Since(began))
			if a != addrA {
				t.Errorf("told that %s is unreachable, want %s", a, addrA)
			}
		case <-time.After(patience):
			t.Fatalf("not told; counters %v", nonZero(m.Counters()))
		}
	}
	a := start(t, s, tableOfA(t), nil, addrA)
	if err := m.Send(t.Context(), []registration.Send{{To: addrA, Payload: heartbeat(t, 2)}}); err != nil {
		t.Fatal(err)
	}
	if got := a.next(t); got.seq != 2 {
		t.Errorf("sequence %d, want 2", got.seq)
	}
	if m.Counters()["peer_unreachable"] == 0 {
		t.Error("peer_unreachable was not counted")
	}
}

func TestUnreachableOverUDP(t *testing.T) {
	t.Parallel()
	s := newSpace(t, all...)
	m := start(t, s, managementTable(t), nil, addrM4)
	if err := m.Send(t.Context(), []registration.Send{{To: addrA4, Payload: heartbeat(t, 1)}}); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-m.unreachable:
		if a != addrA4 {
			t.Errorf("told that %s is unreachable, want %s", a, addrA4)
		}
	case <-time.After(patience):
		t.Fatalf("not told; counters %v", nonZero(m.Counters()))
	}
}

func TestOneProcessPerLocator(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		locators, others []netip.Addr
		sameDir          bool
		want             string
	}{
		"one directory":           {[]netip.Addr{addrM}, []netip.Addr{addrM}, true, "lock file"},
		"two directories":         {[]netip.Addr{addrM}, []netip.Addr{addrM}, false, "network namespace"},
		"IPv6 only beside both":   {[]netip.Addr{addrM, addrM4}, []netip.Addr{addrM}, false, "network namespace"},
		"IPv4 only beside both":   {[]netip.Addr{addrM, addrM4}, []netip.Addr{addrM4}, false, "network namespace"},
		"both beside one of IPv6": {[]netip.Addr{addrM}, []netip.Addr{addrM4, addrM}, false, "network namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t, all...)
			open := func(dir string, locators []netip.Addr) (c *Conn, err error) {
				s.do(func() { c, err = Open(Config{Locators: locators, LockDir: dir}) })
				return c, err
			}
			dir, other := t.TempDir(), t.TempDir()
			if tt.sameDir {
				other = dir
			}
			first, err := open(dir, tt.locators)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := open(other, tt.others); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("second Open: %v, want ErrLocked that tells of the %s", err, tt.want)
			}
			first.Close()
			second, err := open(other, tt.others)
			if err != nil {
				t.Fatalf("after Close: %v", err)
			}
			second.Close()
		})
	}
}

func TestBesideSharesALocator(t *testing.T) {
	t.Parallel()
	s := newSpace(t, all...)
	for _, beside := range []bool{false, true} {
		s.do(func() {
			c, err := Open(Config{Locators: []netip.Addr{addrM}, LockDir: t.TempDir(), Beside: beside})
			if err != nil {
				t.Errorf("beside %v: %v", beside, err)
				return
			}
			t.Cleanup(func() { c.Close() })
		})
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	s := newSpace(t, all...)
	m := start(t, s, managementTable(t), nil, addrM)
	a := start(t, s, tableOfA(t), nil, addrA)
	next := sha(1101, "a to m, next")
	send := func(seq uint32) {
		t.Helper()
		if err := a.Send(t.Context(), []registration.Send{{To: addrM, Payload: heartbeat(t, seq)}}); err != nil {
			t.Fatal(err)
		}
	}
	// Both keys live, sender still with the old, then with the new one.
	m.SetPeers(table(t, Peer{Addr: addrA, Receive: []Key{aToM, next}, Send: mToA}))
	send(1)
	a.SetPeers(table(t, Peer{Addr: addrM, Receive: []Key{mToA}, Send: next}))
	send(2)
	for want := uint32(1); want <= 2; want++ {
		if got := m.next(t); got.seq != want || got.auth != registration.AuthOK {
			t.Errorf("sequence %d %v, want %d authentic", got.seq, got.auth, want)
		}
	}
	// The old key is dead.
	m.SetPeers(table(t, Peer{Addr: addrA, Receive: []Key{next}, Send: mToA}, Peer{Addr: addrB, Receive: []Key{bToM}}))
	a.SetPeers(table(t, Peer{Addr: addrM, Receive: []Key{mToA}, Send: aToM}))
	send(3)
	a.SetPeers(table(t, Peer{Addr: addrM, Receive: []Key{mToA}, Send: next}))
	send(4)
	if got := m.next(t); got.seq != 4 {
		t.Errorf("sequence %d was delivered, want 4: the old key is still accepted", got.seq)
	}
	if got := m.Counters()["drop_auth_spi_unknown"]; got != 1 {
		t.Errorf("drop_auth_spi_unknown = %d, want 1", got)
	}
	// A peer that left the table is a stranger; one that nobody may talk to.
	m.SetPeers(table(t, Peer{Addr: addrB, Receive: []Key{bToM}}))
	send(5)
	injector(t, s, addrB)(addrM, signed(t, bToM, heartbeat(t, 6), addrB, addrM))
	if got := m.next(t); got.seq != 6 {
		t.Errorf("sequence %d was delivered, want 6", got.seq)
	}
	if err := m.Send(t.Context(), []registration.Send{{To: addrA, Payload: heartbeat(t, 1)}}); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("send to a removed peer: %v, want ErrUnknownPeer", err)
	}
	if err := m.Send(t.Context(), []registration.Send{{To: addrB, Payload: heartbeat(t, 1)}}); !errors.Is(err, ErrNoKey) {
		t.Errorf("send without a key: %v, want ErrNoKey", err)
	}
}

func put16(b []byte, off int, v uint16) []byte {
	binary.BigEndian.PutUint16(b[off:], v)
	return b
}
