package slots

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
)

// errCut is what every operation answers once the power is gone.
var errCut = errors.New("power cut")

// errFull is a partition without room.
var errFull = errors.New("no space left on device")

// inode is one file's content: what is on the platter, and what the kernel has
// not written yet.
type inode struct{ durable, volatile []byte }

// change is one change of names that SyncDir has not made durable: name gets
// node (nil = it is gone), and from loses its.
type change struct {
	name, from string
	node       *inode
}

// disk is a folder on a card that can lose power: cut is how many operations
// are left (-1 = any number). It implements FS.
type disk struct {
	names   map[string]*inode // as the running system sees them
	durable map[string]*inode // as they are after a power cut, before pending
	pending []change
	cut     int
	room    int // bytes left to write; -1 = any number
}

func newDisk() *disk {
	return &disk{names: map[string]*inode{}, durable: map[string]*inode{}, cut: -1, room: -1}
}

// step counts an operation; after the cut none happens.
func (d *disk) step() error {
	if d.cut == 0 {
		return errCut
	}
	if d.cut > 0 {
		d.cut--
	}
	return nil
}

func (d *disk) Open(name string) (io.ReadCloser, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	n, ok := d.names[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(n.volatile)), nil
}

func (d *disk) Create(name string) (File, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	n, ok := d.names[name]
	if ok {
		n.volatile = nil
	} else {
		n = &inode{}
		d.apply(change{name: name, node: n})
	}
	return &handle{d, n}, nil
}

func (d *disk) Rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	n, ok := d.names[from]
	if !ok {
		return fs.ErrNotExist
	}
	d.apply(change{name: to, from: from, node: n})
	return nil
}

func (d *disk) Remove(name string) error {
	if err := d.step(); err != nil {
		return err
	}
	if _, ok := d.names[name]; !ok {
		return fs.ErrNotExist
	}
	d.apply(change{name: name})
	return nil
}

func (d *disk) SyncDir() error {
	if err := d.step(); err != nil {
		return err
	}
	d.durable, d.pending = maps.Clone(d.names), nil
	return nil
}

func (d *disk) apply(c change) {
	c.to(d.names)
	d.pending = append(d.pending, c)
}

func (c change) to(names map[string]*inode) {
	delete(names, c.from)
	if c.node == nil {
		delete(names, c.name)
		return
	}
	names[c.name] = c.node
}

type handle struct {
	d *disk
	n *inode
}

func (h *handle) Write(b []byte) (int, error) {
	if err := h.d.step(); err != nil {
		return 0, err
	}
	if h.d.room >= 0 && len(b) > h.d.room {
		return 0, errFull
	}
	if h.d.room >= 0 {
		h.d.room -= len(b)
	}
	h.n.volatile = append(bytes.Clone(h.n.volatile), b...)
	return len(b), nil
}

func (h *handle) Sync() error {
	if err := h.d.step(); err != nil {
		return err
	}
	h.n.durable = h.n.volatile
	return nil
}

func (h *handle) Close() error { return nil }

// survivors are the disks that a power cut now can leave: any subset of the
// unsynced changes of names, each with the unsynced contents lost, half
// written, or written.
func (d *disk) survivors() []*disk {
	contents := map[string]func(*inode) []byte{
		"lost":    func(n *inode) []byte { return n.durable },
		"half":    func(n *inode) []byte { return n.volatile[:len(n.volatile)/2] },
		"written": func(n *inode) []byte { return n.volatile },
	}
	var out []*disk
	for subset := range 1 << len(d.pending) {
		names := maps.Clone(d.durable)
		for i, c := range d.pending {
			if subset&(1<<i) != 0 {
				c.to(names)
			}
		}
		for _, content := range contents {
			s := newDisk()
			for name, n := range names {
				b := n.durable
				if !bytes.Equal(n.durable, n.volatile) {
					b = content(n)
				}
				s.names[name] = &inode{durable: b, volatile: b}
			}
			s.durable = maps.Clone(s.names)
			out = append(out, s)
		}
	}
	return out
}
