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

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestRoutesSurviveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "router.db")
	want := router.Route{Address: netip.MustParseAddr("2001:db8:a::1"), VM: mobility.NAI("vm1@dc1"), Epoch: 7,
		Locator: netip.MustParseAddr("2001:db8:b::1"), Expires: time.Unix(1800000000, 0).UTC(), Since: time.Unix(1700000000, 5).UTC()}
	other := want
	other.Address = netip.MustParseAddr("10.0.0.1")
	for start := uint32(1); start <= 2; start++ {
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := f.Restarts(); err != nil || n != start {
			t.Errorf("Restarts = %d, %v, want %d", n, err, start)
		}
		if err := f.Save(router.Persist{Put: []router.Route{want, other}}); err != nil {
			t.Fatal(err)
		}
		if err := f.Save(router.Persist{Forget: []netip.Addr{other.Address}}); err != nil {
			t.Fatal(err)
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
	f, err := Open(newer)
	if err != nil {
		t.Fatal(err)
	}
	err = f.db.Update(func(tx *bbolt.Tx) error { return putNumber(tx.Bucket(bucketMeta), keyVersion, version+1) })
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := Open(newer); !errors.Is(err, ErrNewer) {
		t.Errorf("newer file: err = %v, want ErrNewer", err)
	}
	cut := filepath.Join(t.TempDir(), "cut.db")
	if err := os.WriteFile(cut, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cut); err == nil {
		t.Error("a truncated file was accepted")
	}
}
