package tc

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

var (
	mustHaveFlower = flag.Bool("flower", false, "the kernel must have flower and its actions")
	capture        = flag.String("capture", "", "write what the kernel gives back to this file: testdata/given.json")
)

// world is a network namespace with a pair of ports.
type world struct {
	handle *netlink.Handle
	conn   *Conn
	raw    int // a socket for frames
	va, vb int32
}

// newWorld builds a namespace on a thread that is thrown away; it ends with its
// last socket.
func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test needs root to make a network namespace")
	}
	w := &world{}
	var file *os.File
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		if file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return
		}
		if w.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return
		}
		w.raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	t.Cleanup(w.handle.Close)
	t.Cleanup(func() { unix.Close(w.raw) })
	if w.conn, err = Dial(int(file.Fd())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close() })
	w.va, w.vb = w.pair(t, "va", "vb")
	return w
}

func (w *world) pair(t testing.TB, a, b string) (int32, int32) {
	t.Helper()
	if err := w.handle.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: a}, PeerName: b}); err != nil {
		t.Fatal(err)
	}
	var index [2]int32
	for i, name := range []string{a, b} {
		l, err := w.handle.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		index[i] = int32(l.Attrs().Index)
	}
	return index[0], index[1]
}

func (w *world) remove(t testing.TB, name string) {
	t.Helper()
	l, err := w.handle.LinkByName(name)
	if err == nil {
		err = w.handle.LinkDel(l)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// flower tells whether the kernel has it, and fails where it must.
func (w *world) flower(t testing.TB) bool {
	t.Helper()
	f := flower.Filter{Port: w.va, Priority: 1, Handle: 1, All: true, SkipHW: true, Actions: []flower.Action{flower.Goto{Chain: 1}}}
	err := w.conn.Apply(t.Context(), []Request{{Put, f}})[0]
	switch {
	case err == nil:
		if err := w.conn.Apply(t.Context(), []Request{{Delete, f}})[0]; err != nil {
			t.Fatal(err)
		}
		return true
	case *mustHaveFlower || !errors.Is(err, hwabstraction.ErrNotSupported):
		t.Fatal(err)
	}
	return false
}

func TestKernelAttach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got, err := w.conn.List(t.Context(), w.va); err != nil || len(got) > 0 {
		t.Errorf("before: %v, %v", got, err)
	}
	for range 2 {
		if err := w.conn.Attach(w.va); err != nil {
			t.Fatal(err)
		}
	}
	l := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: int(w.vb), Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
	if err := w.handle.QdiscAdd(l); err != nil {
		t.Fatal(err)
	}
	if err := w.conn.Attach(w.vb); !errors.Is(err, ErrForeign) {
		t.Errorf("over somebody's ingress qdisc: %v", err)
	}
	w.remove(t, "va")
	if err := w.conn.Attach(w.va); !errors.Is(err, hwabstraction.ErrPortGone) {
		t.Errorf("to a port that is gone: %v", err)
	}
	if _, err := w.conn.List(t.Context(), w.va); !errors.Is(err, hwabstraction.ErrPortGone) {
		t.Errorf("list of a port that is gone: %v", err)
	}
}

// kernelFilters are one of each kind that the switchdev backend writes.
func kernelFilters(va, vb int32) []flower.Filter {
	vm4, vm6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	mac, gw := flower.MAC{2, 5: 7}, flower.MAC{2, 5: 1}
	cookie := []byte("dpmip 0123456789")
	list := []flower.Filter{
		{Priority: 1, All: true, Match: flower.Match{DestinationMAC: gw}, Actions: []flower.Action{flower.Goto{Chain: 1}}},
		{Chain: 1, Priority: 1, IPv4: true, Match: flower.Match{Destination: flower.Host(vm4), HopLimitMask: 0xfe}, Actions: []flower.Action{flower.Goto{Chain: 9}}},
		{Chain: 1, Priority: 2, Match: flower.Match{Destination: netip.MustParsePrefix("fe80::/10")}, Actions: []flower.Action{flower.Goto{Chain: 9}}},
		{Chain: 1, Priority: 3, IPv4: true, Match: flower.Match{Destination: flower.Host(vm4), NoFragment: true}, Actions: []flower.Action{
			flower.Rewrite{SourceMAC: gw, DestinationMAC: mac, Destination: vm4, Hop: true}, flower.ChecksumIPv4 | flower.ChecksumTCP | flower.ChecksumUDP, flower.Redirect{Port: vb},
		}},
		{Chain: 1, Priority: 4, Match: flower.Match{Source: flower.Host(vm6), SourceMAC: mac, DestinationMAC: gw, NoFragment: true}, Actions: []flower.Action{
			flower.Conntrack{Zone: 7, Commit: true}, flower.Rewrite{Source: vm6, DestinationMAC: mac, Hop: true}, flower.Redirect{Port: vb},
		}},
		{Chain: 1, Priority: 5, IPv4: true, Match: flower.Match{Destination: flower.Host(vm4)}, Actions: []flower.Action{flower.Conntrack{Zone: 7}, flower.Goto{Chain: 2}}},
		{Chain: 2, Priority: 1, IPv4: true, Match: flower.Match{State: flower.Tracked | flower.Established, Zone: 7}, Actions: []flower.Action{flower.Redirect{Port: vb}}},
		{Chain: 2, Priority: 2, IPv4: true, Match: flower.Match{Protocol: 6, FlagsMask: 0x12, Flags: 0x02}, Actions: []flower.Action{flower.Drop{}}},
		{Chain: 2, Priority: 3, Actions: []flower.Action{flower.Trap{}}},
	}
	for i := range list {
		list[i].Port, list[i].SkipHW, list[i].Handle, list[i].Cookie = va, true, uint32(i+1), cookie
	}
	return list
}

func requests(op Op, filters []flower.Filter) (list []Request) {
	for _, f := range filters {
		list = append(list, Request{op, f})
	}
	return list
}

// TestKernelGivesBack puts a filter of each kind, and finds what it has put.
func TestKernelGivesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.conn.Attach(w.va); err != nil {
		t.Fatal(err)
	}
	if !w.flower(t) {
		return // the refusal is a clear one
	}
	want := kernelFilters(w.va, w.vb)
	if errs := w.conn.Apply(t.Context(), requests(Put, want)); failed(errs) != nil {
		t.Fatal(errors.Join(errs...))
	}
	w.holds(t, want)
	w.chains(t, want)
	if *capture != "" {
		w.capture(t, *capture)
	}
	for i := range want { // in place of those that are there
		want[i].Actions = []flower.Action{flower.Goto{Chain: 30}}
	}
	if errs := w.conn.Apply(t.Context(), requests(Replace, want)); failed(errs) != nil {
		t.Fatal(errors.Join(errs...))
	}
	w.holds(t, want)
	for range 2 {
		if errs := w.conn.Apply(t.Context(), requests(Delete, want)); failed(errs) != nil {
			t.Fatal(errors.Join(errs...))
		}
	}
	w.holds(t, nil)
}

// chains reads chain by chain, and finds in each what belongs there.
func (w *world) chains(t testing.TB, want []flower.Filter) {
	t.Helper()
	in := map[uint32]int{4711: 0}
	for _, f := range want {
		in[f.Chain]++
	}
	for chain, n := range in {
		got, err := w.conn.ListChain(t.Context(), w.va, chain)
		if err != nil || len(got) != n {
			t.Errorf("chain %d: %d filters, %v; want %d", chain, len(got), err, n)
		}
	}
}

// holds compares what the port has with what it should have.
func (w *world) holds(t testing.TB, want []flower.Filter) {
	t.Helper()
	got, err := w.conn.List(t.Context(), w.va)
	if err != nil {
		t.Fatal(err)
	}
	byHandle := map[uint32]flower.Status{}
	for _, s := range got {
		byHandle[s.Handle] = s
	}
	if len(got) != len(want) {
		t.Errorf("%d filters, want %d", len(got), len(want))
	}
	for _, f := range want {
		s := byHandle[f.Handle]
		if !s.Holds(f) {
			t.Errorf("beyond a filter: %q; (-put +given back):\n%s", s.Beyond, cmp.Diff(f, s.Filter, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
				cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })))
		}
		if s.InHW || !s.SkipHW {
			t.Errorf("handle %#x: in hardware: %v, skip_hw: %v", f.Handle, s.InHW, s.SkipHW)
		}
	}
}

// TestKernelRefuses meets the refusals that this kernel can give.
func TestKernelRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := flower.Filter{Port: w.va, Priority: 5, Handle: 1, All: true, SkipHW: true, Match: flower.Match{SourceMAC: flower.MAC{2}}, Actions: []flower.Action{flower.Drop{}}}
	if err := w.conn.Apply(t.Context(), []Request{{Put, f}})[0]; !errors.Is(err, ErrDetached) {
		t.Errorf("without a qdisc: %v", err)
	}
	if err := w.conn.Apply(t.Context(), []Request{{Delete, f}})[0]; err != nil {
		t.Errorf("deleting without a qdisc: %v", err)
	}
	if err := w.conn.Attach(w.va); err != nil {
		t.Fatal(err)
	}
	if !w.flower(t) {
		return // the refusal is a clear one
	}
	hard, family, twin, nowhere := f, f, f, f
	hard.SkipHW, hard.SkipSW, hard.Handle, hard.Priority = false, true, 2, 6
	family.All, family.Handle, family.Match = false, 3, flower.Match{NoFragment: true}
	twin.Handle = 4
	nowhere.Handle, nowhere.Priority, nowhere.Actions = 5, 7, []flower.Action{flower.Redirect{Port: 9999}}
	errs := w.conn.Apply(t.Context(), []Request{{Put, f}, {Put, f}, {Put, hard}, {Put, family}, {Replace, twin}, {Put, nowhere}})
	for i, want := range []error{nil, unix.EEXIST, hwabstraction.ErrNotSupported, unix.EINVAL, unix.EEXIST, hwabstraction.ErrPortGone} {
		if !errors.Is(errs[i], want) {
			t.Errorf("request %d: %v, want %v", i, errs[i], want)
		}
		t.Log(errs[i])
	}
	var e *Error
	if !errors.As(errs[5], &e) || e.Gone != 9999 {
		t.Errorf("%v does not say that port 9999 is gone", errs[5])
	}
	w.holds(t, []flower.Filter{f})
	w.remove(t, "va")
	if err := w.conn.Apply(t.Context(), []Request{{Put, f}})[0]; !errors.Is(err, hwabstraction.ErrPortGone) || !errors.As(err, &e) || e.Gone != w.va {
		t.Errorf("on a port that is gone: %v", err)
	}
	if err := w.conn.Apply(t.Context(), []Request{{Delete, f}})[0]; err != nil {
		t.Errorf("deleting from a port that is gone: %v", err)
	}
}

// TestKernelCounts sends frames through a filter.
func TestKernelCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.conn.Attach(w.va); err != nil {
		t.Fatal(err)
	}
	if !w.flower(t) {
		return // the refusal is a clear one
	}
	for _, name := range []string{"va", "vb"} {
		l, err := w.handle.LinkByName(name)
		if err == nil {
			err = w.handle.LinkSetUp(l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f := flower.Filter{
		Port: w.va, Priority: 5, Handle: 1, All: true, SkipHW: true, Match: flower.Match{DestinationMAC: flower.MAC{2, 5: 9}},
		Actions: []flower.Action{flower.Rewrite{SourceMAC: flower.MAC{2, 5: 8}}, flower.Drop{}},
	}
	if err := w.conn.Apply(t.Context(), []Request{{Put, f}})[0]; err != nil {
		t.Fatal(err)
	}
	const frames, size = 10, 100
	frame := append([]byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 7, 0x88, 0xb5}, make([]byte, size-14)...)
	for range frames {
		if err := unix.Sendto(w.raw, frame, 0, &unix.SockaddrLinklayer{Ifindex: int(w.vb), Halen: 6}); err != nil {
			t.Fatal(err)
		}
	}
	var s flower.Status
	for deadline := time.Now().Add(20 * time.Second); s.Packets < frames && time.Now().Before(deadline); {
		got, err := w.conn.List(t.Context(), w.va)
		if err != nil || len(got) != 1 {
			t.Fatalf("%d filters, %v", len(got), err)
		}
		s = got[0]
	}
	if s.Packets != frames || s.Bytes != frames*(size-14) || s.HWPackets != 0 || s.Idle > time.Minute || !s.Holds(f) {
		t.Errorf("%+v; want %d packets of %d bytes behind the Ethernet header", s, frames, size-14)
	}
}
