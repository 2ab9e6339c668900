package haltest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience bounds every wait for something that is certain to come.
const patience = 10 * time.Second

// markType is the Ethernet type of the marker frames (IEEE 802, local
// experiments). They are never shown to a test.
const markType = 0x88b5

// wire is the World of a namespace rig: a packet socket at both ends of every
// port. Everything is sent by one thread bound to one CPU: a veth queues per
// CPU, so frames cannot overtake each other.
type wire struct {
	hv     *space
	fabric Port
	vms    []Port
	near   map[string]*tap // in the hypervisor's namespace: sees what goes in, sends markers out
	far    map[string]*tap // at the other end
	send   chan func()
	marks  uint64
}

func newWire(t testing.TB) *wire {
	t.Helper()
	n := rigs.Add(1)
	mac := func(role, i int) MAC {
		m := MAC{2, byte(role), byte(i)}
		binary.BigEndian.PutUint16(m[4:], uint16(n))
		return m
	}
	w := &wire{hv: newSpace(t), near: map[string]*tap{}, far: map[string]*tap{}, send: make(chan func())}
	w.hv.sysctl(t, hypervisorSysctls)
	plug := func(name string, role int) Port {
		far := newSpace(t)
		p := w.hv.veth(t, name, far, mac(role, 0), mac(role, 1))
		w.near[name] = newTap(t, w.hv, name, true)
		w.far[name] = newTap(t, far, "far", false)
		return p
	}
	w.fabric = plug("fab0", 0x10)
	for i := range vmPorts {
		w.vms = append(w.vms, plug("vm"+string(rune('0'+i)), 0x20+i))
	}
	w.address(t)
	go w.sender()
	t.Cleanup(func() { close(w.send) })
	return w
}

// hypervisorSysctls are what an administrator sets; ICMP rate limits are off so
// that every error of a test is answered.
var hypervisorSysctls = map[string]string{
	"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1",
	"ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0",
	"ipv4/conf/all/send_redirects": "0", "ipv4/conf/default/send_redirects": "0",
	"ipv4/icmp_ratelimit": "0", "ipv6/icmp/ratelimit": "0",
	"ipv6/conf/default/accept_dad": "0", "ipv6/conf/all/accept_dad": "0",
}

// address gives the fabric port its addresses, default routes and neighbours.
func (w *wire) address(t testing.TB) {
	t.Helper()
	l, err := w.hv.nl.LinkByName(w.fabric.Name)
	if err != nil {
		t.Fatal(err)
	}
	lo, err := w.hv.nl.LinkByName("lo")
	if err == nil {
		err = w.hv.nl.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("loopback: %v", err)
	}
	for _, f := range []struct {
		own netip.Prefix
		via netip.Addr
	}{{HypervisorAddr4, FabricGateway4}, {HypervisorAddr6, FabricGateway6}} {
		ipnet := &net.IPNet{IP: f.own.Addr().AsSlice(), Mask: net.CIDRMask(f.own.Bits(), f.own.Addr().BitLen())}
		if err := w.hv.nl.AddrAdd(l, &netlink.Addr{IPNet: ipnet}); err != nil {
			t.Fatalf("address %s: %v", f.own, err)
		}
		err := w.hv.nl.NeighAdd(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, IP: f.via.AsSlice(), State: netlink.NUD_PERMANENT,
			HardwareAddr: net.HardwareAddr(w.fabric.Far[:]),
		})
		if err != nil {
			t.Fatalf("neighbour %s: %v", f.via, err)
		}
		bits := f.own.Addr().BitLen()
		all := &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)}
		if err := w.hv.nl.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: f.via.AsSlice(), Dst: all}); err != nil {
			t.Fatalf("default route via %s: %v", f.via, err)
		}
	}
}

// sender runs what is sent on one thread of one CPU; the thread ends with it.
func (w *wire) sender() {
	runtime.LockOSThread()
	var allowed, one unix.CPUSet
	if unix.SchedGetaffinity(0, &allowed) == nil {
		for cpu := range 1024 {
			if allowed.IsSet(cpu) {
				one.Set(cpu)
				break
			}
		}
		// Not being bound only makes an order less certain.
		_ = unix.SchedSetaffinity(0, &one)
	}
	for f := range w.send {
		f()
	}
}

func (w *wire) Fabric() Port { return w.fabric }
func (w *wire) VMs() []Port  { return w.vms }

// Send puts a frame on the wire from the far end of a port.
func (w *wire) Send(t testing.TB, port string, frame []byte) {
	t.Helper()
	w.transmit(t, w.far[port], frame)
}

func (w *wire) transmit(t testing.TB, from *tap, frame []byte) {
	t.Helper()
	done := make(chan error)
	w.send <- func() {
		_, err := from.file.Write(frame)
		done <- err
	}
	if err := <-done; err != nil {
		t.Fatalf("send %d bytes: %v", len(frame), err)
	}
}

// Seen implements World.
func (w *wire) Seen(t testing.TB, port string, n int, match func([]byte) bool) [][]byte {
	t.Helper()
	far := w.far[port]
	far.wait(patience, func(frames [][]byte) bool { return count(frames, match) >= n })
	w.settle(t)
	var out [][]byte
	for _, f := range far.take() {
		if match(f) {
			out = append(out, f)
		}
	}
	return out
}

func count(frames [][]byte, match func([]byte) bool) int {
	n := 0
	for _, f := range frames {
		if match(f) {
			n++
		}
	}
	return n
}

// settle returns when everything sent so far has gone through the hypervisor
// and reached the far ends: a marker goes into the fabric port and is seen
// behind everything sent before it (the CPU has one queue for all of them; a VM
// port would count it as a foreign frame), then one goes out of every port.
func (w *wire) settle(t testing.TB) {
	t.Helper()
	w.marks++
	mark := markFrame(w.marks)
	w.transmit(t, w.far[w.fabric.Name], mark)
	w.awaitMark(t, w.fabric.Name, w.near[w.fabric.Name])
	for port, near := range w.near {
		w.transmit(t, near, mark)
		w.awaitMark(t, port, w.far[port])
	}
}

func (w *wire) awaitMark(t testing.TB, port string, at *tap) {
	t.Helper()
	if !at.marked(w.marks, patience) {
		t.Fatalf("port %s is stuck: no marker within %s", port, patience)
	}
}

func markFrame(n uint64) []byte {
	f := make([]byte, 60)
	copy(f, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1})
	binary.BigEndian.PutUint16(f[12:], markType)
	binary.BigEndian.PutUint64(f[14:], n)
	return f
}
