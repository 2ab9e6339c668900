package bundle

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strings"
)

// The words before the hexadecimal digits of keys in files.
const (
	publicWord  = "dpmip-update-public"
	privateWord = "dpmip-update-private"
)

// FormatPublic is the line that the card's key file holds.
func FormatPublic(k ed25519.PublicKey) string { return publicWord + " " + hex.EncodeToString(k) + "\n" }

// FormatPrivate is the line of a signing key's file: the seed.
func FormatPrivate(k ed25519.PrivateKey) string {
	return privateWord + " " + hex.EncodeToString(k.Seed()) + "\n"
}

// ParsePublic reads a key file: a key a line, "#" begins a comment.
func ParsePublic(text string) ([]ed25519.PublicKey, error) {
	var out []ed25519.PublicKey
	err := parseKeys(text, publicWord, ed25519.PublicKeySize, func(b []byte) { out = append(out, b) })
	return out, err
}

// ParsePrivate reads a signing key's file, which holds exactly one.
func ParsePrivate(text string) (ed25519.PrivateKey, error) {
	var out []ed25519.PrivateKey
	err := parseKeys(text, privateWord, ed25519.SeedSize, func(b []byte) { out = append(out, ed25519.NewKeyFromSeed(b)) })
	if err == nil && len(out) != 1 {
		err = fmt.Errorf("bundle: %d signing keys, want one", len(out))
	}
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func parseKeys(text, word string, size int, add func([]byte)) error {
	found := false
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 || fields[0] != word {
			return fmt.Errorf("bundle: key file: line %d: want %q and %d hexadecimal digits", i+1, word, 2*size)
		}
		b, err := hex.DecodeString(fields[1])
		if err != nil || len(b) != size {
			return fmt.Errorf("bundle: key file: line %d: not %d hexadecimal digits", i+1, 2*size)
		}
		add(b)
		found = true
	}
	if !found {
		return fmt.Errorf("bundle: key file: no key in it")
	}
	return nil
}
