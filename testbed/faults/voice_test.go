package faults

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/topology"
)

// voice speaks protocol 135 from an address, beside or instead of the program
// that is at home there. It hears every message that comes to the address.
type voice struct {
	w     *world
	addr  netip.Addr
	conn  net.PacketConn
	key   *wire.Key // what it signs with; nil = nothing
	shift time.Duration
}

// keys of one peer and the management node, as the peer's configuration has them.
type keys struct {
	toMgmt, toPeer uint32
	secret         []byte
}

var keyLine = regexp.MustCompile(`send = (\d+), receive = (\d+), key = "hex:([0-9a-f]+)"`)

func (w *world) keys(node string) keys {
	w.t.Helper()
	text, err := os.ReadFile(w.config(node))
	w.must(err)
	m := keyLine.FindStringSubmatch(string(text))
	if m == nil {
		w.t.Fatalf("no keys in %s", w.config(node))
	}
	send, _ := strconv.ParseUint(m[1], 10, 32)
	receive, _ := strconv.ParseUint(m[2], 10, 32)
	secret, err := hex.DecodeString(m[3])
	w.must(err)
	return keys{uint32(send), uint32(receive), secret}
}

func (w *world) key(spi uint32, secret []byte) *wire.Key {
	w.t.Helper()
	k, err := wire.NewKey(spi, wire.HMACSHA256, secret)
	w.must(err)
	return k
}

// speak opens a voice at a node, at any address, signing with the key.
func (w *world) speak(node string, addr netip.Addr, key *wire.Key) *voice {
	w.t.Helper()
	v := &voice{w: w, addr: addr, key: key}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		_ = c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
		})
		return err
	}}
	w.must(w.dc.Lab.Node(node).NS.Do(func() (err error) {
		v.conn, err = lc.ListenPacket(context.Background(), "ip6:135", addr.String())
		return err
	}))
	w.t.Cleanup(func() { v.conn.Close() })
	return v
}

// asHypervisor speaks to the management node like the hypervisor's agent.
func (w *world) asHypervisor(hv string) *voice {
	w.t.Helper()
	h, _ := w.dc.Lab.Plan.Hypervisor(hv)
	k := w.keys(hv)
	return w.speak(hv, h.Locator.V6, w.key(k.toMgmt, k.secret))
}

// asMgmt speaks to a peer like the management node.
func (w *world) asMgmt(peer string) *voice {
	w.t.Helper()
	k := w.keys(peer)
	return w.speak(topology.Mgmt, w.dc.Lab.Plan.Mgmt.V6, w.key(k.toPeer, k.secret))
}

// say sends bytes as they are; the kernel fills the checksum.
func (v *voice) say(to netip.Addr, b []byte) {
	v.w.t.Helper()
	if _, err := v.conn.WriteTo(b, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		v.w.t.Fatalf("send from %s to %s: %v", v.addr, to, err)
	}
}

var sequence uint16 = 0x4000

// request builds a Request as its sender would: VM, flags, a lifetime, the time.
func (v *voice) request(vm string, fill func(*wire.Message)) []byte {
	m := &wire.Message{}
	m.Reset(wire.TypeRequest)
	sequence++
	m.Request = wire.Request{Sequence: sequence, Flags: wire.RequestAck | wire.RequestProxy, Lifetime: mobility.LifetimeOf(time.Minute)}
	if vm != "" {
		m.AddVMID(mobility.NAI(vm))
	}
	m.AddTimestamp(wire.TimestampOf(time.Now().Add(v.shift)))
	if fill != nil {
		fill(m)
	}
	return v.sign(m)
}

// sign writes a message, with the voice's key if it has one.
func (v *voice) sign(m *wire.Message) []byte {
	v.w.t.Helper()
	var b []byte
	var err error
	if v.key == nil {
		b, err = m.Append(nil)
	} else {
		b, err = m.AppendSigned(nil, v.key, m.CareOf(v.addr, v.addr))
	}
	v.w.must(err)
	return b
}

// ask sends a Request and waits for its Reply, patiently: one is wanted.
func (v *voice) ask(to netip.Addr, request []byte) (status mobility.Status, answered bool) {
	v.w.t.Helper()
	return v.askFor(slower(10*time.Second), to, request)
}

// askInVain is ask where silence is wanted.
func (v *voice) askInVain(to netip.Addr, request []byte) (status mobility.Status, answered bool) {
	v.w.t.Helper()
	return v.askFor(time.Second, to, request)
}

func (v *voice) askFor(wait time.Duration, to netip.Addr, request []byte) (status mobility.Status, answered bool) {
	v.w.t.Helper()
	var q wire.Message
	v.w.must(q.Parse(request))
	v.say(to, request)
	r := v.reply(to, q.Request.Sequence, wait)
	if r == nil {
		return 0, false
	}
	return r.Reply.Status, true
}

// reply waits for the Reply to a sequence number; nil = silence.
func (v *voice) reply(from netip.Addr, sequence uint16, wait time.Duration) *wire.Message {
	return v.hear(from, wait, func(m *wire.Message) bool {
		return m.Type == wire.TypeReply && m.Reply.Sequence == sequence
	})
}

// hear waits for a message from an address; nil = none has come in time.
func (v *voice) hear(from netip.Addr, wait time.Duration, is func(*wire.Message) bool) *wire.Message {
	m, _ := v.record(from, wait, is)
	return m
}

// record is hear, with the bytes that came.
func (v *voice) record(from netip.Addr, wait time.Duration, is func(*wire.Message) bool) (*wire.Message, []byte) {
	buf := make([]byte, wire.MaxLen)
	v.w.must(v.conn.SetReadDeadline(time.Now().Add(wait)))
	for {
		n, src, err := v.conn.ReadFrom(buf)
		if err != nil {
			return nil, nil
		}
		m := &wire.Message{}
		a, ok := netip.AddrFromSlice(src.(*net.IPAddr).IP)
		if ok && a == from && m.Parse(buf[:n]) == nil && is(m) {
			return m, buf[:n]
		}
	}
}

// quiesce waits until the last move has drained: nothing changes by itself any
// more, and only the mover's home, if it is away, is an anchor.
func (w *world) quiesce() {
	w.t.Helper()
	var last string
	var since time.Duration
	w.eventually("the last move has drained", func() string {
		for _, a := range w.binding(w.vm(mover).ID).Anchors {
			if a.Hypervisor != w.vm(mover).Home || w.at == a.Hypervisor {
				return a.Hypervisor + " is still an anchor"
			}
		}
		w.pass(50 * time.Millisecond)
		now := w.snapshot()
		if now != last {
			last, since = now, clock.Now()
		}
		if clock.Now()-since < time.Second {
			return "something still changes:\n" + now
		}
		return ""
	})
}

// snapshot is everything that a bad message must not change.
func (w *world) snapshot() string {
	w.t.Helper()
	var b strings.Builder
	for _, v := range w.dc.Lab.Plan.VMs {
		x := w.binding(v.ID)
		fmt.Fprintf(&b, "%s at %s epoch %d mac %s move %q: %v %v %v\n", x.Vm, x.Hypervisor, x.Epoch, x.Mac, x.Move, x.Addresses, x.Anchors, x.Routes)
	}
	for _, h := range w.dc.Lab.Plan.Hypervisors {
		fmt.Fprintf(&b, "%s:\n%s\n", h.Name, strings.Join(w.current(h.Name, w.rules(h.Name)), "\n"))
	}
	for _, r := range routers {
		fmt.Fprintf(&b, "%s:\n%s\n", r, strings.Join(w.routes(r), "\n"))
	}
	return b.String()
}
