package boltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

var bucket = []byte("b")

func fill(tx *bbolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return err
	}
	for i := range 1000 {
		if err := b.Put(fmt.Appendf(nil, "key%d", i), make([]byte, 300)); err != nil {
			return err
		}
	}
	return nil
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, bbolt.Options{}, fill)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, bbolt.Options{}, nil); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), path) {
		t.Errorf("a held file: %v, want ErrHeld and the file's name", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("no")
	if _, err := Open(path, bbolt.Options{}, func(*bbolt.Tx) error { return refusal }); !errors.Is(err, refusal) || !strings.Contains(err.Error(), path) {
		t.Errorf("prepare's error: %v", err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 100, 4096, 8192, 16384, 100_000} {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, bbolt.Options{}, nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("%d bytes: %v, want ErrDamaged and the file's name", n, err)
		}
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("not a store ", 4000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, bbolt.Options{}, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("garbage: %v, want ErrDamaged", err)
	}
}
