package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// lockWait bounds the wait for a file that another process holds.
const lockWait = 2 * time.Second

// Errors that callers branch on; Open wraps them with the file's name.
var (
	ErrDamaged = errors.New("damaged")
	ErrHeld    = errors.New("held by another process")
)

// Open opens or creates the file at path with mode 0600, for one process at a
// time. A file that is held (ErrHeld) or damaged (ErrDamaged) is refused and
// left as it is. prepare, which may be nil, runs in the first transaction; its
// error is Open's.
func Open(path string, options bbolt.Options, prepare func(*bbolt.Tx) error) (_ *bbolt.DB, err error) {
	if err := checkSize(path); err != nil {
		return nil, err
	}
	defer func() { // bbolt panics on pages that make no sense
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: %w: %v", path, ErrDamaged, r)
		}
	}()
	options.Timeout = lockWait
	db, err := bbolt.Open(path, 0o600, &options)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s: %w", path, ErrHeld)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if prepare == nil {
		return db, nil
	}
	if err := db.Update(prepare); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return db, nil
}

// checkSize refuses a file that ends before the pages its meta page counts:
// touching one of them would be a SIGBUS, which cannot be caught.
func checkSize(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err // names the path
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return nil // as bbolt does: an empty file is a new one
	}
	need, err := highWater(f)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	if info.Size() < need {
		return fmt.Errorf("%s: %w: truncated to %d bytes, its last transaction needs %d; restore it from a backup", path, ErrDamaged, info.Size(), need)
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
