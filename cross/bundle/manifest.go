package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Limits of what a bundle may claim.
const (
	maxManifest = 64 << 10
	maxFiles    = 64
	MaxFile     = 64 << 20 // bytes of one file
)

// Errors that callers tell apart.
var (
	ErrFormat    = errors.New("bundle: damaged or no bundle")
	ErrSignature = errors.New("bundle: the signature is not by the card's key")
)

// File is one program of a bundle.
type File struct {
	Name   string `json:"name"` // plain, without a slash
	Mode   uint32 `json:"mode"` // permissions
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
	Data   []byte `json:"-"` // set for Pack only
}

// Manifest says what a bundle is.
type Manifest struct {
	// Version only grows from release to release; the card compares it with its
	// fuse and refuses what is lower.
	Version uint64 `json:"version"`
	// Fuse is what the card's fuse is raised to once this bundle has proved
	// itself: 0 leaves it as it is, Version forbids every older bundle.
	Fuse    uint64 `json:"fuse"`
	Release string `json:"release"` // for people
	Arch    string `json:"arch"`    // as GOARCH
	Files   []File `json:"files"`
}

// File finds one by name; nil where the bundle lacks it.
func (m *Manifest) File(name string) *File {
	for i := range m.Files {
		if m.Files[i].Name == name {
			return &m.Files[i]
		}
	}
	return nil
}

// check refuses what no honest packer writes.
func (m *Manifest) check() error {
	switch {
	case m.Version == 0:
		return fmt.Errorf("%w: manifest: version is 0", ErrFormat)
	case m.Fuse > m.Version:
		return fmt.Errorf("%w: manifest: fuse %d is above version %d", ErrFormat, m.Fuse, m.Version)
	case len(m.Files) == 0 || len(m.Files) > maxFiles:
		return fmt.Errorf("%w: manifest: %d files, want 1 to %d", ErrFormat, len(m.Files), maxFiles)
	}
	seen := make(map[string]bool, len(m.Files))
	for _, f := range m.Files {
		switch {
		case f.Name == "" || f.Name == "." || f.Name == ".." || strings.ContainsAny(f.Name, "/\x00"):
			return fmt.Errorf("%w: manifest: %q is no plain name", ErrFormat, f.Name)
		case seen[f.Name]:
			return fmt.Errorf("%w: manifest: %s is named twice", ErrFormat, f.Name)
		case f.Size < 0 || f.Size > MaxFile:
			return fmt.Errorf("%w: manifest: %s has %d bytes, at most %d are allowed", ErrFormat, f.Name, f.Size, MaxFile)
		case len(f.SHA256) != 64:
			return fmt.Errorf("%w: manifest: %s has no SHA-256", ErrFormat, f.Name)
		case f.Mode&^0o777 != 0:
			return fmt.Errorf("%w: manifest: %s has mode %o", ErrFormat, f.Name, f.Mode)
		}
		seen[f.Name] = true
	}
	return nil
}

func parseManifest(b []byte) (Manifest, error) {
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: manifest: %v", ErrFormat, err)
	}
	return m, m.check()
}
