package software

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// node is a network namespace of a test.
type node struct {
	t  testing.TB
	ns netns.NsHandle
	nl *netlink.Handle
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t}
	done := make(chan error)
	go func() { // the thread enters the new namespace and dies with it
		runtime.LockOSThread()
		var err error
		if n.ns, err = netns.New(); err == nil {
			err = sysctls(
				"net/ipv6/conf/default/accept_dad", "0", "net/ipv6/conf/all/accept_dad", "0",
				"net/ipv4/conf/default/rp_filter", "0", "net/ipv4/conf/all/rp_filter", "0")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("namespace: %v", err)
	}
	t.Cleanup(func() { n.ns.Close() })
	var err error
	if n.nl, err = netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.nl.Close)
	n.must(n.nl.LinkSetUp(n.link("lo")))
	return n
}

// in runs f inside the namespace.
func (n *node) in(f func() error) {
	n.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(n.ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	n.must(<-done)
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) link(name string) netlink.Link {
	n.t.Helper()
	l, err := n.nl.LinkByName(name)
	n.must(err)
	return l
}

// wire connects two nodes by a veth pair, both ends up.
func wire(a *node, aName string, b *node, bName string) {
	a.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aName
	a.must(a.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerNamespace: netlink.NsFd(b.ns)}))
	a.must(a.nl.LinkSetUp(a.link(aName)))
	b.must(b.nl.LinkSetUp(b.link(bName)))
}

func (n *node) addr(port string, prefixes ...string) {
	n.t.Helper()
	for _, s := range prefixes {
		a := &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(s))}
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		n.must(n.nl.AddrAdd(n.link(port), a))
	}
}

// via adds a route; gw may be off the link.
func (n *node) via(port, gw string, prefixes ...string) {
	n.t.Helper()
	for _, s := range prefixes {
		r := &netlink.Route{Dst: ipNet(netip.MustParsePrefix(s)), Gw: net.ParseIP(gw), Flags: int(netlink.FLAG_ONLINK), LinkIndex: n.link(port).Attrs().Index}
		n.must(n.nl.RouteReplace(r))
	}
}

func (n *node) forward() {
	n.in(func() error {
		return sysctls("net/ipv4/ip_forward", "1", "net/ipv6/conf/all/forwarding", "1", "net/ipv4/conf/all/accept_local", "1")
	})
}

// packetConn opens a UDP socket inside.
func (n *node) udp(at netip.AddrPort) *net.UDPConn {
	n.t.Helper()
	var c *net.UDPConn
	n.in(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	})
	n.t.Cleanup(func() { c.Close() })
	raw, err := c.SyscallConn()
	n.must(err)
	n.must(raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 64<<20)
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	}))
	return c
}

// lab is a spine with a peer's address, two hypervisors, and a VM namespace
// behind each of them with the same addresses.
type lab struct {
	t      testing.TB
	spine  *node
	hv     [2]*node
	vm     [2]*node
	dev    [2]*Device
	dir    [2]string
	attach Attach
}

// fam is one family's addresses in the lab.
type fam struct {
	name         string
	peer, old, d netip.Addr
	locator      [2]netip.Addr
	odd          netip.Addr // a delivery address with another checksum
	network      string
}

var fams = []fam{
	{
		name: "v6", peer: netip.MustParseAddr("fd09::9"), old: netip.MustParseAddr("fd77:1::5"),
		d: netip.MustParseAddr("fd77:1::5"), odd: netip.MustParseAddr("fd88:2::1234"), network: "ip6",
		locator: [2]netip.Addr{netip.MustParseAddr("fd01::2"), netip.MustParseAddr("fd02::2")},
	},
	{
		name: "v4", peer: netip.MustParseAddr("10.9.9.9"), old: netip.MustParseAddr("10.77.1.5"),
		d: netip.MustParseAddr("10.88.2.7"), odd: netip.MustParseAddr("10.88.2.7"), network: "ip4",
		locator: [2]netip.Addr{netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("10.0.2.2")},
	},
}

func init() { // fd88:2::x with the sum of fd77:1::5: 0xfd77+1+5 = 0xfd88+2+x
	x := uint32(0xfd77+1+5) + 0xffff - (0xfd88 + 2)
	fams[0].d = netip.MustParseAddr(fmt.Sprintf("fd88:2::%x", x%0xffff))
}

var vmMAC = [6]byte{0x02, 0, 0, 0, 0, 0x77}

func newLab(t testing.TB, attach Attach) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	l := &lab{t: t, spine: newNode(t), attach: attach}
	l.spine.forward()
	l.spine.addr("lo", "10.9.9.9/32", "fd09::9/128")
	for i := range l.hv {
		l.hv[i], l.vm[i] = newNode(t), newNode(t)
		l.connect(i)
		l.dir[i] = t.TempDir()
		t.Cleanup(func() { unix.Unmount(filepath.Join(l.dir[i], "bpf"), unix.MNT_DETACH) })
		l.open(i)
	}
	return l
}

func (l *lab) connect(i int) {
	l.connectFabric(i)
	l.connectVM(i)
}

func (l *lab) connectFabric(i int) {
	hv, port := l.hv[i], fmt.Sprintf("to%d", i)
	wire(l.spine, port, hv, "fab0")
	n := i + 1
	l.spine.addr(port, fmt.Sprintf("10.0.%d.1/24", n), fmt.Sprintf("fd0%d::1/64", n))
	hv.addr("fab0", fmt.Sprintf("10.0.%d.2/24", n), fmt.Sprintf("fd0%d::2/64", n))
	hv.via("fab0", fmt.Sprintf("10.0.%d.1", n), "0.0.0.0/0")
	hv.via("fab0", fmt.Sprintf("fd0%d::1", n), "::/0")
	own := [2][]string{{"10.77.1.0/24", "fd77:1::/64"}, {"10.88.2.0/24", "fd88:2::/96"}}[i]
	l.spine.via(port, fmt.Sprintf("10.0.%d.2", n), own[0])
	l.spine.via(port, fmt.Sprintf("fd0%d::2", n), own[1])
}

func (l *lab) connectVM(i int) {
	hv, vm := l.hv[i], l.vm[i]
	wire(hv, "vm0", vm, "eth0")
	vm.must(vm.nl.LinkSetHardwareAddr(vm.link("eth0"), vmMAC[:]))
	vm.addr("eth0", "10.77.1.5/32", "fd77:1::5/128")
	vm.via("eth0", "169.254.1.1", "0.0.0.0/0")
	vm.via("eth0", "fe80::1", "::/0")
}

func (l *lab) config(i int) Config {
	return Config{
		NetNS: int(l.hv[i].ns), BPFDir: filepath.Join(l.dir[i], "bpf"), Fabric: []string{"fab0"},
		Attach: l.attach, MaxRules: 4096, MaxFlows: 1024,
	}
}

// open opens hypervisor i's device; the previous one's process is dead.
func (l *lab) open(i int) *Device {
	l.t.Helper()
	if l.dev[i] != nil {
		l.dev[i].Halt()
	}
	d, err := Open(l.config(i))
	if err != nil {
		l.t.Fatalf("open: %v", err)
	}
	l.dev[i] = d
	l.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			l.t.Errorf("close: %v", err)
		}
	})
	return d
}

func stamp(epoch uint32) hwabstraction.Stamp {
	return hwabstraction.Stamp{Owner: [16]byte{7: 7, 15: 1}, Epoch: epoch}
}

func (l *lab) apply(i int, changes ...hwabstraction.Change) {
	l.t.Helper()
	for _, r := range l.dev[i].Apply(l.t.Context(), changes) {
		if r.Err != nil {
			l.t.Fatalf("%s: %v", r.ID, r.Err)
		}
	}
}

// must is for calls that only give an error.
func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// serve puts what hypervisor i needs to serve the VM: egress, delivery of OLD.
func (l *lab) serve(i int, f fam, epoch uint32) {
	l.t.Helper()
	l.apply(i,
		hwabstraction.Put(hwabstraction.Egress{Stamp: stamp(epoch), Port: "vm0", Source: f.old, MAC: vmMAC}),
		hwabstraction.Put(hwabstraction.Deliver{Stamp: stamp(epoch), Address: f.old, Restore: f.old, Port: "vm0", MAC: vmMAC}))
}

// prepare puts what destination i needs: egress, holding delivery of D,
// inactive delivery of OLD.
func (l *lab) prepare(i int, f fam, d netip.Addr, epoch uint32) {
	l.t.Helper()
	l.serve(i, f, epoch)
	l.apply(i, hwabstraction.Put(hwabstraction.Deliver{
		Stamp: stamp(epoch), Address: d, Restore: f.old, Port: "vm0", MAC: vmMAC, Hold: true,
	}))
}

// collect reads numbered packets until want have come or nothing comes.
func collect(t testing.TB, c *net.UDPConn, want int) []int {
	t.Helper()
	var got []int
	b := make([]byte, 9000)
	for len(got) < want {
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			break
		}
		var k int
		fmt.Sscanf(string(b[:n]), "%d", &k)
		got = append(got, k)
	}
	return got
}

// send sends one numbered packet.
func send(t testing.TB, c *net.UDPConn, to netip.AddrPort, k int) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort(fmt.Appendf(nil, "%d", k), to); err != nil {
		t.Fatalf("send %d: %v", k, err)
	}
}

// onOneCPU keeps the test's goroutine on one thread of one CPU from here on: a
// veth queues per CPU, so packets sent from two may overtake each other before
// they reach anything that is tested.
func onOneCPU(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // the thread ends with the test's goroutine
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
}
