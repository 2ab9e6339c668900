package slots

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// FS is the one folder that holds everything. Names are plain. What a method
// has changed may be lost by a power cut until Sync (content) and SyncDir
// (names) have returned.
type FS interface {
	Open(name string) (io.ReadCloser, error) // fs.ErrNotExist where there is none
	Create(name string) (File, error)        // empty, also where it existed
	Rename(from, to string) error            // replaces to, atomically
	Remove(name string) error                // fs.ErrNotExist where there is none
	SyncDir() error
}

// File is a file being written.
type File interface {
	io.WriteCloser
	Sync() error
}

// Dir is a real folder.
type Dir string

// Open opens for reading.
func (d Dir) Open(name string) (io.ReadCloser, error) { return os.Open(filepath.Join(string(d), name)) }

// Create makes an empty file that only root may read.
func (d Dir) Create(name string) (File, error) {
	return os.OpenFile(filepath.Join(string(d), name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

// Rename moves from over to.
func (d Dir) Rename(from, to string) error {
	return os.Rename(filepath.Join(string(d), from), filepath.Join(string(d), to))
}

// Remove deletes a name.
func (d Dir) Remove(name string) error { return os.Remove(filepath.Join(string(d), name)) }

// SyncDir makes names durable.
func (d Dir) SyncDir() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
