package bundle

import (
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
)

// magic opens every bundle and is the first thing signed.
const magic = "dpmip-bundle 1\n"

// Pack writes a bundle of m's files (whose Data must be set; sizes and sums are
// filled in), signed with key. The same input gives the same bytes.
func Pack(w io.Writer, m Manifest, key ed25519.PrivateKey) error {
	if len(key) != ed25519.PrivateKeySize {
		return fmt.Errorf("bundle: the signing key has %d bytes, want %d", len(key), ed25519.PrivateKeySize)
	}
	m.Files = append([]File(nil), m.Files...)
	for i := range m.Files {
		f := &m.Files[i]
		sum := sha256.Sum256(f.Data)
		f.Size, f.SHA256 = int64(len(f.Data)), hex.EncodeToString(sum[:])
	}
	if err := m.check(); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("bundle: manifest: %w", err)
	}
	if len(text) > maxManifest {
		return fmt.Errorf("bundle: the manifest has %d bytes, at most %d fit", len(text), maxManifest)
	}
	head := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(text)))
	head = append(head, text...)
	head = append(head, ed25519.Sign(key, signed(text))...)
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return packFiles(w, m.Files)
}

func packFiles(w io.Writer, files []File) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	for _, f := range files {
		if _, err := z.Write(f.Data); err != nil {
			return fmt.Errorf("bundle: %s: %w", f.Name, err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

// signed is what the signature covers: the format with the manifest, so that no
// other use of the key can be taken for a bundle.
func signed(manifest []byte) []byte { return append([]byte(magic), manifest...) }
