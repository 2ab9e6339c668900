package software

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// TestFollowsAfterAFlood changes more foreign routes than the monitor has room
// for, and sees that the FIB is still followed.
func TestFollowsAfterAFlood(t *testing.T) {
	t.Parallel()
	hv, l := host(t, nil)
	d := l.dev[0]
	raw, err := d.monitor.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) }); err != nil || set != nil {
		t.Fatal(err, set)
	}
	a, loc := netip.MustParseAddr("fd77:1::5"), netip.MustParseAddr("fd0b::1")
	l.apply(0, hwabstraction.Put(hwabstraction.HostRoute{Stamp: stamp(1), Address: a, Locator: loc}))
	hv.awaitVia(t, a, "fd01::1")
	out := uint32(hv.link("fab0").Attrs().Index)
	var flood []rtMessage
	for i := range 500 {
		m := routeMessage(unix.RTM_NEWROUTE, route{prefix: netip.MustParsePrefix(fmt.Sprintf("fd99::%x/128", i+1)), table: unix.RT_TABLE_MAIN, oif: out})
		m.body[5] = unix.RTPROT_STATIC // somebody else's
		flood = append(flood, m)
	}
	if err := errors.Join(d.rt.do(flood)...); err != nil {
		t.Fatal(err)
	}
	hv.via("fab1", "fd02::1", "fd0b::/16")
	hv.awaitVia(t, a, "fd02::1")
}

// TestCloseIsQuiet sees that a stop is no event for the log.
func TestCloseIsQuiet(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	_, l := host(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&out, nil)) })
	if err := l.dev[0].Close(); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		t.Errorf("logged: %s", out.String())
	}
}
