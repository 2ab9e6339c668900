package bundle

import (
	"bufio"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Reader is a bundle whose signature is good; its files are still to be read.
type Reader struct {
	Manifest Manifest
	rest     *bufio.Reader
}

// Open reads the head of a bundle and checks its signature against keys, any of
// which may have signed (two while keys are rolled over). Errors are ErrFormat,
// ErrSignature, or r's own.
func Open(r io.Reader, keys ...ed25519.PublicKey) (*Reader, error) {
	br := bufio.NewReader(r)
	head := make([]byte, len(magic)+4)
	if err := fill(br, head); err != nil {
		return nil, err
	}
	if string(head[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it begins with %q", ErrFormat, head[:len(magic)])
	}
	n := binary.BigEndian.Uint32(head[len(magic):])
	if n > maxManifest {
		return nil, fmt.Errorf("%w: a manifest of %d bytes, at most %d are allowed", ErrFormat, n, maxManifest)
	}
	text := make([]byte, int(n)+ed25519.SignatureSize)
	if err := fill(br, text); err != nil {
		return nil, err
	}
	text, signature := text[:n], text[n:]
	if !anySigned(keys, text, signature) {
		return nil, ErrSignature
	}
	m, err := parseManifest(text)
	if err != nil {
		return nil, err
	}
	return &Reader{Manifest: m, rest: br}, nil
}

func anySigned(keys []ed25519.PublicKey, manifest, signature []byte) bool {
	for _, k := range keys {
		if len(k) == ed25519.PublicKeySize && ed25519.Verify(k, signed(manifest), signature) {
			return true
		}
	}
	return false
}

// Files reads the files in order, calling to for each; what it returns is
// written to and closed. A nil writer skips the file but checks it still. Only
// when Files has returned nil is everything known to be as signed: what was
// written before an error is worthless.
func (r *Reader) Files(to func(File) (io.WriteCloser, error)) error {
	z, err := gzip.NewReader(r.rest)
	if err != nil {
		return damaged(err)
	}
	z.Multistream(false)
	for _, f := range r.Manifest.Files {
		if err := r.file(z, f, to); err != nil {
			return err
		}
	}
	var one [1]byte
	switch n, err := io.ReadFull(z, one[:]); {
	case n > 0:
		return fmt.Errorf("%w: more than the manifest says", ErrFormat)
	case !errors.Is(err, io.EOF):
		return damaged(err)
	}
	if _, err := r.rest.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows its end", ErrFormat)
	}
	return nil
}

func (r *Reader) file(from io.Reader, f File, to func(File) (io.WriteCloser, error)) error {
	var w io.WriteCloser
	if to != nil {
		var err error
		if w, err = to(f); err != nil {
			return fmt.Errorf("bundle: %s: %w", f.Name, err)
		}
	}
	sum := sha256.New()
	out := io.Writer(sum)
	if w != nil {
		out = io.MultiWriter(sum, w)
	}
	src := source{r: from}
	_, err := io.CopyN(out, &src, f.Size)
	if w != nil {
		err = errors.Join(err, w.Close())
	}
	switch {
	case err != nil && src.err != nil:
		return damaged(src.err)
	case err != nil: // the writer's
		return fmt.Errorf("bundle: %s: %w", f.Name, err)
	case hex.EncodeToString(sum.Sum(nil)) != f.SHA256:
		return fmt.Errorf("%w: %s is not what was signed", ErrFormat, f.Name)
	}
	return nil
}

// source remembers an error of reading, to tell it from one of writing.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil {
		s.err = err
	}
	return n, err
}

// damaged turns what a decompressor says of bad bytes into ErrFormat.
func damaged(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", ErrFormat, err)
}

func fill(r io.Reader, b []byte) error {
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: it ends in its head", ErrFormat)
		}
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}
