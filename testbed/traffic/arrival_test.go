package traffic

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/clock"
)

func TestArrivedAt(t *testing.T) {
	now := time.Now()
	stamp := func(kind uint32, at time.Time) []byte {
		b := binary.NativeEndian.AppendUint64(nil, 32)
		b = binary.NativeEndian.AppendUint32(b, unix.SOL_SOCKET)
		b = binary.NativeEndian.AppendUint32(b, kind)
		b = binary.NativeEndian.AppendUint64(b, uint64(at.Unix()))
		return binary.NativeEndian.AppendUint64(b, uint64(at.Nanosecond()))
	}
	for _, c := range []struct {
		name    string
		control []byte
		ago     time.Duration
	}{
		{"stamped", stamp(unix.SCM_TIMESTAMPNS, now.Add(-30*time.Millisecond)), 30 * time.Millisecond},
		{"another message", stamp(unix.SCM_RIGHTS, now.Add(-30*time.Millisecond)), 0},
		{"cut short", stamp(unix.SCM_TIMESTAMPNS, now.Add(-30*time.Millisecond))[:24], 0},
		{"none", nil, 0},
	} {
		if got := clock.Of(now) - arrivedAt(c.control, now); got != c.ago {
			t.Errorf("%s: arrived %v ago, want %v", c.name, got, c.ago)
		}
	}
}

// TestStampedRead reads after the moment of arrival and is told that moment.
func TestStampedRead(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if err := unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "three"} {
		before := clock.Now()
		if _, err := unix.Write(fds[0], []byte(text)); err != nil {
			t.Fatal(err)
		}
		s := stamped{fd: fds[1], buf: make([]byte, 16)}
		got, at, err := s.read()
		const apart = 20 * time.Millisecond // of the two clocks' readings
		if err != nil || string(got) != text || at < before-apart || at > clock.Now()+apart {
			t.Errorf("read %q at %v, %v; want %q after %v", got, at, err, text, before)
		}
	}
}
