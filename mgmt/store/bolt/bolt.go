package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/dpmip/dpmip/internal/boltfile"
	"github.com/dpmip/dpmip/mgmt/store"
)

var (
	schemaBucket = []byte("schema")
	versionKey   = []byte("version")
)

// Store is a store.Store in a file.
type Store struct{ db *bbolt.DB }

// Open opens or creates the file at path with mode 0600. A file that another
// process holds, that is damaged (ErrDamaged) or that a newer program wrote
// (ErrNewerSchema) is refused and left as it is.
func Open(path string) (*Store, error) {
	db, err := boltfile.Open(path, bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true}, prepare)
	switch {
	case errors.Is(err, boltfile.ErrDamaged) && !errors.Is(err, store.ErrDamaged):
		return nil, fmt.Errorf("%w: %w", store.ErrDamaged, err)
	case err != nil:
		return nil, fmt.Errorf("store: %w", err)
	}
	return &Store{db: db}, nil
}

// prepare checks the schema's version and creates what is missing.
func prepare(tx *bbolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists(schemaBucket)
	if err != nil {
		return err
	}
	switch v := b.Get(versionKey); {
	case v == nil:
		if err := b.Put(versionKey, binary.BigEndian.AppendUint32(nil, store.Schema)); err != nil {
			return err
		}
	case len(v) != 4:
		return fmt.Errorf("%w: schema version of %d bytes", store.ErrDamaged, len(v))
	case binary.BigEndian.Uint32(v) > store.Schema:
		return fmt.Errorf("%w: schema %d, this one knows %d", store.ErrNewerSchema, binary.BigEndian.Uint32(v), store.Schema)
	}
	for _, k := range store.Kinds() {
		if _, err := tx.CreateBucketIfNotExists([]byte(k)); err != nil {
			return err
		}
	}
	return nil
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
