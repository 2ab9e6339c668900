// Package state keeps a router's host routes on disk, so that a restarted
// router knows whose they are and from which epoch.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.etcd.io/bbolt"

	"github.com/dpmip/dpmip/internal/boltfile"
	"github.com/dpmip/dpmip/internal/restart"
	"github.com/dpmip/dpmip/router"
)

var (
	bucketRoutes = []byte("routes")
	bucketPassed = []byte("passed")
	bucketMeta   = []byte("meta")
	keyVersion   = []byte("version")
	keyRestarts  = []byte("restarts")
)

// version is the format written; an older program refuses a newer file.
const version = 1

// ErrNewer is returned for a file that a newer program wrote.
var ErrNewer = errors.New("state: the file was written by a newer version")

// File is the store of one router; used by one goroutine at a time.
type File struct {
	db *bbolt.DB
}

// Open opens or creates the file and counts this start, at now.
func Open(path string, now time.Time) (*File, error) {
	db, err := boltfile.Open(path, bbolt.Options{}, func(tx *bbolt.Tx) error { return prepare(tx, now) })
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return &File{db: db}, nil
}

func prepare(tx *bbolt.Tx, now time.Time) error {
	for _, name := range [][]byte{bucketRoutes, bucketPassed} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	have, err := number(meta, keyVersion)
	if err != nil {
		return err
	}
	if have > version {
		return fmt.Errorf("%w (%d, this one knows %d)", ErrNewer, have, version)
	}
	starts, err := number(meta, keyRestarts)
	if err != nil {
		return err
	}
	if err := putNumber(meta, keyRestarts, restart.Next(starts, now)); err != nil {
		return err
	}
	return putNumber(meta, keyVersion, version)
}

func number(b *bbolt.Bucket, key []byte) (uint32, error) {
	raw := b.Get(key)
	if raw == nil {
		return 0, nil
	}
	var n uint32
	if err := json.Unmarshal(raw, &n); err != nil {
		return 0, fmt.Errorf("meta %s: %w", key, err)
	}
	return n, nil
}

func putNumber(b *bbolt.Bucket, key []byte, n uint32) error {
	raw, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return b.Put(key, raw)
}

// Restarts is the Restart Counter of this start, which no backup of the file
// brings back.
func (f *File) Restarts() (n uint32, err error) {
	err = f.db.View(func(tx *bbolt.Tx) error {
		n, err = number(tx.Bucket(bucketMeta), keyRestarts)
		return err
	})
	return n, err
}

// Load reads every route. An entry that cannot be read is an error naming it.
func (f *File) Load() ([]router.Route, error) { return all[router.Route](f, bucketRoutes, "route") }

// Passed reads the newest timestamps of management nodes' Requests.
func (f *File) Passed() ([]router.Passed, error) {
	return all[router.Passed](f, bucketPassed, "timestamp of")
}

// all reads every entry of a bucket; what says what one is, for errors.
func all[T any](f *File, bucket []byte, what string) ([]T, error) {
	var out []T
	err := f.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
			var x T
			if err := json.Unmarshal(v, &x); err != nil {
				return fmt.Errorf("state: %s %x: %w", what, k, err)
			}
			out = append(out, x)
			return nil
		})
	})
	return out, err
}

// Save makes the changes durable in one transaction.
func (f *File) Save(p router.Persist) error {
	if len(p.Put) == 0 && len(p.Forget) == 0 {
		return nil
	}
	return f.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketRoutes)
		for _, r := range p.Put {
			raw, err := json.Marshal(r)
			if err != nil {
				return err
			}
			if err := b.Put(key(r.Address), raw); err != nil {
				return err
			}
		}
		for _, a := range p.Forget {
			if err := b.Delete(key(a)); err != nil {
				return err
			}
		}
		return savePassed(tx, p.Passed)
	})
}

func savePassed(tx *bbolt.Tx, p router.Passed) error {
	if !p.Sender.IsValid() || p.Timestamp.IsZero() {
		return nil
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketPassed).Put(key(p.Sender), raw)
}

func key(a netip.Addr) []byte { return a.AsSlice() }

// Close closes the file.
func (f *File) Close() error { return f.db.Close() }
