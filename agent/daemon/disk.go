package daemon

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/internal/boltfile"
	"github.com/dpmip/dpmip/internal/restart"
	"github.com/dpmip/dpmip/mobility"
)

// diskRetry is when a failed write is tried again.
const diskRetry = 5 * time.Second

// diskVersion is raised by changes that older agents cannot read.
const diskVersion = 1

var (
	bucketRecords = []byte("records")
	bucketMeta    = []byte("meta")
	keyVersion    = []byte("version")
	keyRestarts   = []byte("restarts")
)

// ErrDiskVersion: a newer agent wrote the file; it is left untouched.
var ErrDiskVersion = errors.New("daemon: the file has a newer format")

// Disk keeps records over a reboot, in a file of the state directory. Writes
// are gathered: Put and Delete return at once.
type Disk struct {
	db  *bbolt.DB
	log *slog.Logger

	mu    sync.Mutex // guards dirty
	dirty map[mobility.VMID]*agent.Record
	wake  chan struct{}
}

// OpenDisk opens or makes the file, which one process may hold at a time.
func OpenDisk(path string, log *slog.Logger) (*Disk, error) {
	db, err := boltfile.Open(path, bbolt.Options{}, prepareDisk)
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	return &Disk{db: db, log: log, dirty: make(map[mobility.VMID]*agent.Record), wake: make(chan struct{}, 1)}, nil
}

func prepareDisk(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	if v := number(meta.Get(keyVersion)); v > diskVersion {
		return fmt.Errorf("version %d, want at most %d: %w", v, diskVersion, ErrDiskVersion)
	}
	if _, err := tx.CreateBucketIfNotExists(bucketRecords); err != nil {
		return err
	}
	return meta.Put(keyVersion, binary.BigEndian.AppendUint32(nil, diskVersion))
}

func number(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Restarts counts this start, at now, durably, and gives the new Restart
// Counter, which no backup of the file brings back.
func (d *Disk) Restarts(now time.Time) (n uint32, err error) {
	err = d.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		n = restart.Next(number(meta.Get(keyRestarts)), now)
		return meta.Put(keyRestarts, binary.BigEndian.AppendUint32(nil, n))
	})
	return n, err
}

// Load reads every record. One that is unreadable is left out and told.
func (d *Disk) Load() (out []agent.Record, err error) {
	err = d.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
			var r agent.Record
			if err := json.Unmarshal(v, &r); err != nil {
				d.log.Error("a record on disk is unreadable", "vm", string(k[1:]), "err", err)
				return nil
			}
			out = append(out, r)
			return nil
		})
	})
	return out, err
}

// Put has a record written soon.
func (d *Disk) Put(r agent.Record) { d.mark(r.VM, &r) }

// Delete has a record taken away soon.
func (d *Disk) Delete(vm mobility.VMID) { d.mark(vm, nil) }

func (d *Disk) mark(vm mobility.VMID, r *agent.Record) {
	d.mu.Lock()
	d.dirty[vm] = r
	d.mu.Unlock()
	d.poke()
}

func (d *Disk) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Disk) String() string { return "disk" }

// Run writes what was put until ctx ends, and the rest then.
func (d *Disk) Run(ctx context.Context) error {
	retry := time.NewTimer(diskRetry)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return d.Flush()
		case <-retry.C:
			d.poke()
		case <-d.wake:
			if err := d.Flush(); err != nil {
				d.log.Error("records are not on disk: a reboot of the card would lose them", "err", err)
				retry.Reset(diskRetry)
			}
		}
	}
}

// Flush writes what was put so far. What cannot be written is kept for the next
// time.
func (d *Disk) Flush() error {
	d.mu.Lock()
	batch := d.dirty
	d.dirty = make(map[mobility.VMID]*agent.Record)
	d.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := d.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketRecords)
		for vm, r := range batch {
			if err := write(b, vm, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for vm, r := range batch {
		if _, newer := d.dirty[vm]; !newer {
			d.dirty[vm] = r
		}
	}
	return fmt.Errorf("daemon: %d records: %w", len(batch), err)
}

func write(b *bbolt.Bucket, vm mobility.VMID, r *agent.Record) error {
	key := append([]byte{byte(vm.Subtype)}, vm.Bytes...)
	if r == nil {
		return b.Delete(key)
	}
	v, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return b.Put(key, v)
}

// Close closes the file.
func (d *Disk) Close() error { return d.db.Close() }
