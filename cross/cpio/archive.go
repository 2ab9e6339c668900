package cpio

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// File types of st_mode.
const (
	typeDir     = 0o040000
	typeChar    = 0o020000
	typeRegular = 0o100000
	typeLink    = 0o120000
)

// maxFile is the largest size that newc can say, 8 hexadecimal digits.
const maxFile = 1<<32 - 1

// entry is one file of an archive.
type entry struct {
	name         string
	mode         uint32 // type and permissions
	major, minor uint32 // of a device
	data         []byte
}

// Archive collects files and writes them sorted. The zero value is empty. It is
// not safe for concurrent use.
type Archive struct {
	entries map[string]entry
}

// File adds a regular file; the archive keeps data. Missing parent folders are
// made, mode 0755. A name is relative, clean and used once.
func (a *Archive) File(name string, perm uint32, data []byte) error {
	if len(data) > maxFile {
		return fmt.Errorf("cpio: %s: %d bytes, at most %d fit", name, len(data), maxFile)
	}
	return a.add(entry{name: name, mode: typeRegular | perm&0o7777, data: data})
}

// Dir adds a folder; one that was made as a parent gets the mode.
func (a *Archive) Dir(name string, perm uint32) error {
	if e, ok := a.entries[name]; ok && e.mode&typeDir != 0 && e.mode&^0o7777 == typeDir {
		delete(a.entries, name)
	}
	return a.add(entry{name: name, mode: typeDir | perm&0o7777})
}

// Link adds a symbolic link.
func (a *Archive) Link(name, target string) error {
	return a.add(entry{name: name, mode: typeLink | 0o777, data: []byte(target)})
}

// Char adds a character device, such as the console that the kernel opens for
// PID 1 before anything is mounted.
func (a *Archive) Char(name string, perm, major, minor uint32) error {
	return a.add(entry{name: name, mode: typeChar | perm&0o7777, major: major, minor: minor})
}

func (a *Archive) add(e entry) error {
	if e.name == "" || e.name == "." || path.IsAbs(e.name) || path.Clean(e.name) != e.name || strings.HasPrefix(e.name, "..") {
		return fmt.Errorf("cpio: %q is no clean relative name", e.name)
	}
	if _, twice := a.entries[e.name]; twice {
		return fmt.Errorf("cpio: %s is there already", e.name)
	}
	if a.entries == nil {
		a.entries = make(map[string]entry)
	}
	for dir := path.Dir(e.name); dir != "."; dir = path.Dir(dir) {
		parent, ok := a.entries[dir]
		if !ok {
			a.entries[dir] = entry{name: dir, mode: typeDir | 0o755}
		} else if parent.mode&^0o7777 != typeDir {
			return fmt.Errorf("cpio: %s lies below %s, which is no folder", e.name, dir)
		}
	}
	a.entries[e.name] = e
	return nil
}

// Names lists what the archive holds, sorted: a folder before what lies in it,
// as the kernel needs it.
func (a *Archive) Names() []string {
	names := make([]string, 0, len(a.entries))
	for name := range a.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// WriteTo writes the archive with its trailer. It may be called more than once.
func (a *Archive) WriteTo(w io.Writer) (int64, error) {
	c := counter{w: w}
	for i, name := range a.Names() {
		if err := c.entry(uint32(i)+1, a.entries[name]); err != nil {
			return c.n, fmt.Errorf("cpio: %s: %w", name, err)
		}
	}
	if err := c.entry(0, entry{name: "TRAILER!!!"}); err != nil {
		return c.n, fmt.Errorf("cpio: trailer: %w", err)
	}
	return c.n, nil
}

// counter writes entries and knows the offset, to which newc aligns.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) entry(inode uint32, e entry) error {
	links := uint32(1)
	if e.mode&^0o7777 == typeDir {
		links = 2
	}
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		inode, e.mode, 0, 0, links, 0, len(e.data), 0, 0, e.major, e.minor, len(e.name)+1, 0)
	if err := c.padded([]byte(header + e.name + "\x00")); err != nil {
		return err
	}
	return c.padded(e.data)
}

// padded writes b and zeros up to the next multiple of four.
func (c *counter) padded(b []byte) error {
	n, err := c.w.Write(b)
	c.n += int64(n)
	if err != nil {
		return err
	}
	n, err = c.w.Write(make([]byte, -c.n&3))
	c.n += int64(n)
	return err
}
