package state

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/router"
)

// since2020 is so many seconds after the beginning of Restart Counters.
func since2020(seconds int) time.Time {
	return time.Date(2020, 1, 1, 0, 0, seconds, 0, time.UTC)
}

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestRoutesSurviveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "router.db")
	want := router.Route{Address: netip.MustParseAddr("2001:db8:a::1"), VM: mobility.NAI("vm1@dc1"), Epoch: 7,
		Locator: netip.MustParseAddr("2001:db8:b::1"), Expires: time.Unix(1800000000, 0).UTC(), Since: time.Unix(1700000000, 5).UTC()}
	other := want
	other.Address = netip.MustParseAddr("10.0.0.1")
	for start := uint32(10); start <= 11; start++ {
		f, err := Open(path, since2020(10))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := f.Restarts(); err != nil || n != start {
			t.Errorf("Restarts = %d, %v, want %d", n, err, start)
		}
		if err := f.Save(router.Persist{Put: []router.Route{want, other}}); err != nil {
			t.Fatal(err)
		}
		newest := router.Passed{Sender: netip.MustParseAddr("2001:db8:ff::1"), Timestamp: time.Unix(1700000009, 500_000).UTC()}
		if err := f.Save(router.Persist{Forget: []netip.Addr{other.Address}, Passed: newest}); err != nil {
			t.Fatal(err)
		}
		if passed, err := f.Passed(); err != nil || cmp.Diff([]router.Passed{newest}, passed, addrs) != "" {
			t.Errorf("newest timestamps %v, %v, want %v", passed, err, newest)
		}
		got, err := f.Load()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]router.Route{want}, got, addrs); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBadFilesAreRefused(t *testing.T) {
	newer := filepath.Join(t.TempDir(), "newer.db")
	f, err := Open(newer, since2020(10))
	if err != nil {
		t.Fatal(err)
	}
	err = f.db.Update(func(tx *bbolt.Tx) error { return putNumber(tx.Bucket(bucketMeta), keyVersion, version+1) })
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := Open(newer, since2020(10)); !errors.Is(err, ErrNewer) {
		t.Errorf("newer file: err = %v, want ErrNewer", err)
	}
	cut := filepath.Join(t.TempDir(), "cut.db")
	if err := os.WriteFile(cut, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cut, since2020(10)); err == nil {
		t.Error("a truncated file was accepted")
	}
}

// TestABackupRepeatsNoRestartCounter: a file that comes back from a backup has
// seen fewer starts than the peers have.
func TestABackupRepeatsNoRestartCounter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "router.db")
	start := func(at int) uint32 {
		f, err := Open(path, since2020(at))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		n, err := f.Restarts()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	start(100)
	backup, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	known := start(200)
	if err := os.WriteFile(path, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := start(300); n <= known {
		t.Errorf("restored from a backup: counter %d, peers know %d", n, known)
	}
}
