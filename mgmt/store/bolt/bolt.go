package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/dpmip/dpmip/mgmt/store"
)

// lockWait bounds the wait for a file that another process holds.
const lockWait = 2 * time.Second

var (
	schemaBucket = []byte("schema")
	versionKey   = []byte("version")
)

// Store is a store.Store in a file.
type Store struct{ db *bbolt.DB }

// Open opens or creates the file at path with mode 0600. A file that another
// process holds, that is damaged (ErrDamaged) or that a newer program wrote
// (ErrNewerSchema) is refused and left as it is.
func Open(path string) (_ *Store, err error) {
	if err := checkSize(path); err != nil {
		return nil, err
	}
	defer func() { // bbolt maps the file: a page that is not there is a fault
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %s: %v", store.ErrDamaged, path, r)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("store: %s is held by another process", path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %s: %v", store.ErrDamaged, path, err)
	case err != nil:
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	s := &Store{db: db}
	if err := s.prepare(path); err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

// checkSize refuses a file that ends before the pages its meta page counts:
// touching one of them would be a SIGBUS, which cannot be caught.
func checkSize(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if info.Size() == 0 {
		return nil // as bbolt does: an empty file is a new one
	}
	need, err := highWater(f)
	if err != nil {
		return fmt.Errorf("%w: %s: %v", store.ErrDamaged, path, err)
	}
	if info.Size() < need {
		return fmt.Errorf("%w: %s is truncated: %d bytes, its last transaction needs %d; restore it from a backup", store.ErrDamaged, path, info.Size(), need)
	}
	return nil
}

// Layout of bbolt's meta page: a 16-byte page header, then magic u32, version
// u32, page size u32, flags u32, root bucket (pgid u64, sequence u64), freelist
// pgid u64, high-water pgid u64, transaction u64, checksum u64. Two of them, a
// page each; the one with the higher transaction counts.
const (
	metaMagic = 0xED0CDAED
	metaLen   = 16 + 64
)

// highWater is the number of bytes that the newest meta page accounts for.
func highWater(f *os.File) (int64, error) {
	var newest uint64
	var size int64 = -1
	pageSize := int64(os.Getpagesize())
	for i := range int64(2) {
		var b [metaLen]byte
		if _, err := f.ReadAt(b[:], i*pageSize); err != nil {
			return 0, fmt.Errorf("no meta page: %w", err)
		}
		m := b[16:]
		if binary.NativeEndian.Uint32(m) != metaMagic {
			continue
		}
		page := int64(binary.NativeEndian.Uint32(m[8:]))
		if txn := binary.NativeEndian.Uint64(m[48:]); size < 0 || txn > newest {
			newest, size = txn, int64(binary.NativeEndian.Uint64(m[40:]))*page
		}
	}
	if size < 0 {
		return 0, errors.New("not a bbolt file")
	}
	return size, nil
}

// prepare checks the schema's version and creates what is missing.
func (s *Store) prepare(path string) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(schemaBucket)
		if err != nil {
			return fmt.Errorf("store: %s: %w", path, err)
		}
		switch v := b.Get(versionKey); {
		case v == nil:
			if err := b.Put(versionKey, binary.BigEndian.AppendUint32(nil, store.Schema)); err != nil {
				return fmt.Errorf("store: %s: %w", path, err)
			}
		case len(v) != 4:
			return fmt.Errorf("%w: %s: schema version of %d bytes", store.ErrDamaged, path, len(v))
		case binary.BigEndian.Uint32(v) > store.Schema:
			return fmt.Errorf("%w: %s has schema %d, this one knows %d", store.ErrNewerSchema, path, binary.BigEndian.Uint32(v), store.Schema)
		}
		for _, k := range store.Kinds() {
			if _, err := tx.CreateBucketIfNotExists([]byte(k)); err != nil {
				return fmt.Errorf("store: %s: %w", path, err)
			}
		}
		return nil
	})
}

// Apply implements store.Store: one transaction, one fsync.
func (s *Store) Apply(writes []store.Write) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for _, w := range writes {
			b := tx.Bucket([]byte(w.Kind))
			if b == nil {
				return fmt.Errorf("no bucket for kind %q", w.Kind)
			}
			if err := apply(b, w); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

func apply(b *bbolt.Bucket, w store.Write) error {
	if w.Value == nil {
		return b.Delete(w.Key)
	}
	return b.Put(w.Key, w.Value)
}

// Load implements store.Store.
func (s *Store) Load(f func(store.Record) error) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		for _, k := range store.Kinds() {
			err := tx.Bucket([]byte(k)).ForEach(func(key, value []byte) error {
				return f(store.Record{Kind: k, Key: slices.Clone(key), Value: slices.Clone(value)})
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Close implements store.Store.
func (s *Store) Close() error { return s.db.Close() }
