package park

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
)

// TestClosedParkKeepsAndOpenParkReleases sends frames into a link and counts
// what comes out at the other end.
func TestClosedParkKeepsAndOpenParkReleases(t *testing.T) {
	set, err := netns.Open(t.TempDir(), "park")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	a, b := mustCreate(t, set, "a"), mustCreate(t, set, "b")
	if err := netns.Veth(netns.End{NS: a, Name: "x"}, netns.End{NS: b, Name: "y"}, 0); err != nil {
		t.Fatal(err)
	}
	p, err := New(a, "x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Remove)
	fd := receiver(t, b, "y")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, fd, netns.FullFrame) // Close's own frame empties the bucket
	const frames = 100
	for i := range frames {
		if err := p.send(100 + i); err != nil {
			t.Fatal(err)
		}
	}
	st, err := p.Stats()
	if err != nil || st.Packets != frames || st.Dropped != 0 {
		t.Fatalf("closed: %+v (%v), want %d waiting", st, err, frames)
	}
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	for i := range frames {
		expect(t, fd, 100+i) // in order
	}
	expect(t, fd, 60) // Open's own frame comes last
}

func mustCreate(t *testing.T, set *netns.Set, name string) *netns.NS {
	t.Helper()
	n, err := set.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Sysctls("net.ipv6.conf.default.disable_ipv6=1"); err != nil {
		t.Fatal(err)
	}
	return n
}

func receiver(t *testing.T, n *netns.NS, link string) (fd int) {
	t.Helper()
	index, err := n.Index(link)
	if err != nil {
		t.Fatal(err)
	}
	const protocol = EtherType>>8 | EtherType&0xff<<8
	err = n.Do(func() error {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: index}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func expect(t *testing.T, fd, length int) {
	t.Helper()
	buf := make([]byte, 2048)
	n, err := unix.Read(fd, buf)
	if err != nil || n != length {
		t.Fatalf("received %d bytes (%v), want %d", n, err, length)
	}
}
