package netns

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestLinkDrops fills the queue of a hold, then that of a link: only what the
// link drops voids a run.
func TestLinkDrops(t *testing.T) {
	s, _ := open(t)
	a, b := create(t, s, "a"), create(t, s, "b")
	must(t, Veth(End{NS: a, Name: "x0"}, End{NS: b, Name: "y0"}, 0))
	must(t, a.SetUp("x0"), b.SetUp("y0"))
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "hold"
	must(t, a.Netlink().LinkAdd(&netlink.Ifb{LinkAttrs: attrs}), a.SetUp("hold"))
	for _, x := range []struct {
		link  string
		voids bool
	}{{"hold", false}, {"x0", true}} {
		before, err := a.LinkDrops()
		must(t, err)
		overflow(t, a, x.link)
		after, err := a.LinkDrops()
		must(t, err)
		if got := after != before; got != x.voids {
			t.Errorf("the queue of %s overflowed: %d frames counted before, %d after; counts: %v, want %v", x.link, before, after, got, x.voids)
		}
	}
}

// overflow sends frames until the link's queue has dropped some.
func overflow(t *testing.T, n *NS, link string) {
	t.Helper()
	l, err := n.Link(link)
	must(t, err)
	at := l.Attrs().Index
	must(t, n.SetQueue(at, Queue{Rate: 1, Burst: FullFrame, Limit: 2 * FullFrame}))
	fd := -1
	must(t, n.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	defer unix.Close(fd)
	frame := make([]byte, FullFrame)
	frame[12], frame[13] = 0x88, 0xb5
	for range 10 {
		_ = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: at, Halen: 6}) // a full queue is an error of some
	}
	queues, err := n.nl.QdiscList(l)
	must(t, err)
	for _, q := range queues {
		if a := q.Attrs(); q.Type() == "tbf" && a.Statistics.Queue.Drops > 0 {
			return
		}
	}
	t.Fatalf("the queue of %s dropped nothing: the test does not test", link)
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
