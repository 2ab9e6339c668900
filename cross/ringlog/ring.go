package ringlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	magic  = "dpmiplog"
	header = int64(len(magic) + 8)
	// MinSize is the smallest ring, in bytes.
	MinSize = 4096
)

// Ring writes. Its methods may be called concurrently; a write never blocks on
// anything but the file.
type Ring struct {
	mu    sync.Mutex // guards all fields
	f     *os.File
	size  int64
	total uint64
}

// Open opens or makes the ring at path with room for size bytes. What a ring of
// the same size holds already is kept; any other file is replaced.
func Open(path string, size int64) (*Ring, error) {
	if size < MinSize {
		return nil, fmt.Errorf("ringlog: %d bytes, want at least %d", size, MinSize)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ringlog: %w", err)
	}
	r := &Ring{f: f, size: size}
	if total, n, err := readHeader(f); err == nil && n == size {
		r.total = total
		return r, nil
	}
	if err := errors.Join(f.Truncate(0), f.Truncate(header+size), r.mark()); err != nil {
		f.Close()
		return nil, fmt.Errorf("ringlog: %w", err)
	}
	return r, nil
}

// mark writes the header.
func (r *Ring) mark() error {
	_, err := r.f.WriteAt(binary.LittleEndian.AppendUint64([]byte(magic), r.total), 0)
	return err
}

// Write appends b; of more than the ring holds, the end.
func (r *Ring) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(b)
	if over := int64(len(b)) - r.size; over > 0 {
		b, r.total = b[over:], r.total+uint64(over)
	}
	for len(b) > 0 {
		at := int64(r.total % uint64(r.size))
		part := b[:min(int64(len(b)), r.size-at)]
		if _, err := r.f.WriteAt(part, header+at); err != nil {
			return 0, fmt.Errorf("ringlog: %w", err)
		}
		r.total += uint64(len(part))
		b = b[len(part):]
	}
	if err := r.mark(); err != nil {
		return 0, fmt.Errorf("ringlog: %w", err)
	}
	return n, nil
}

// Close closes the file; what is in it stays.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.f.Close()
}

// readHeader gives the bytes ever written and the size of the ring.
func readHeader(f *os.File) (total uint64, size int64, err error) {
	b := make([]byte, header)
	if _, err := f.ReadAt(b, 0); err != nil {
		return 0, 0, err
	}
	if string(b[:len(magic)]) != magic {
		return 0, 0, fmt.Errorf("ringlog: %s is no ring", f.Name())
	}
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	if size = st.Size() - header; size < MinSize {
		return 0, 0, fmt.Errorf("ringlog: %s is cut short", f.Name())
	}
	return binary.LittleEndian.Uint64(b[len(magic):]), size, nil
}

// Read gives what a ring holds, oldest first; the first line is dropped where
// its beginning has been written over.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("ringlog: %w", err)
	}
	defer f.Close()
	total, size, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	ring := make([]byte, size)
	if _, err := f.ReadAt(ring, header); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("ringlog: %w", err)
	}
	if total <= uint64(size) {
		return ring[:total], nil
	}
	at := total % uint64(size)
	out := append(bytes.Clone(ring[at:]), ring[:at]...)
	if i := bytes.IndexByte(out, '\n'); i >= 0 {
		out = out[i+1:]
	}
	return out, nil
}
