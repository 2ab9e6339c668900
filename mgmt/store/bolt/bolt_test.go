package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mgmt/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener {
		path := filepath.Join(t.TempDir(), "db")
		return func(t *testing.T) store.Store { return open(t, path) }
	})
}

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// filled makes a store of some hundred pages and returns its path.
func filled(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	var w []store.Write
	for i := range 2000 {
		w = append(w, store.Write{Kind: store.Bindings, Key: fmt.Appendf(nil, "vm%d", i), Value: make([]byte, 300)})
	}
	if err := s.Apply(w); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTruncatedFileIsRefused(t *testing.T) {
	path := filled(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 100, 4096, 8192, 16384, 100_000} {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%d bytes: err = %v, want ErrDamaged", n, err)
		}
		if s != nil {
			s.Close()
		}
	}
}

func TestGarbageIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a store ", 4000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("err = %v, want ErrDamaged", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filled(t)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(schemaBucket).Put(versionKey, binary.BigEndian.AppendUint32(nil, store.Schema+1))
	})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(path); !errors.Is(err, store.ErrNewerSchema) {
		t.Errorf("err = %v, want ErrNewerSchema", err)
	}
}

func TestHeldFileIsRefused(t *testing.T) {
	path := filled(t)
	s := open(t, path)
	defer s.Close()
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "held by another process") {
		t.Errorf("err = %v", err)
	}
}

func BenchmarkApply(b *testing.B) {
	for _, batch := range []int{1, 64, 1000} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "db"))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			w := make([]store.Write, batch)
			value := make([]byte, 300)
			for n := 0; b.Loop(); n++ {
				for i := range w {
					w[i] = store.Write{Kind: store.Bindings, Key: fmt.Appendf(nil, "vm%d", (n*batch+i)%100000), Value: value}
				}
				if err := s.Apply(w); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}
