package dnsupdate

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var secret64 = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\xff\xfb", 32))) // holds // and +

func statement(name, algorithm, secret string) string {
	return fmt.Sprintf("key %q {\n\talgorithm %s;\n\tsecret \"%s\";\n};\n", name, algorithm, secret)
}

func TestLoadKeys(t *testing.T) {
	t.Parallel()
	good := statement("vm1.", "hmac-sha256", secret64)
	tests := []struct {
		name, text string
		mode       os.FileMode
		want       string // names, or the error after the file's name
	}{
		{"tsig-keygen", good, 0o600, "vm1."},
		{"read-only", good, 0o400, "vm1."},
		{"two, with comments", "// old\n# older /*\n" + good + "/* new\n*/ key vm1-2 { secret \"" + secret64[:64] + "\"; algorithm HMAC-SHA512; };", 0o600, "vm1. vm1-2."},
		{"readable by the group", good, 0o640, "mode 0640 lets others at it, want 0600"},
		{"readable by all", good, 0o604, "mode 0604 lets others at it"},
		{"empty", "\n", 0o600, "holds no key"},
		{"not a key", "zone x {};", 0o600, `want key "NAME" {`},
		{"rest", good + "include;", 0o600, `want key "NAME" {`},
		{"unfinished", `key a { secret "x`, 0o600, `want key "NAME" {`},
		{"two secrets", `key a { secret "x"; secret "y"; };`, 0o600, `key "a": want one algorithm and one secret`},
		{"MD5", statement("a", "hmac-md5", secret64), 0o600, `key "a": hmac-md5 is too weak`},
		{"SHA-1", statement("a", "hmac-sha1", secret64), 0o600, "hmac-sha1 is too weak"},
		{"unknown", statement("a", "rot13", secret64), 0o600, `unknown algorithm "rot13"`},
		{"short", statement("a", "hmac-sha256", secret64[:40]), 0o600, "a secret of 30 bytes is too short, want at least 32"},
		{"not base64", statement("a", "hmac-sha256", "!"), 0o600, "the secret is not base64"},
		{"bad name", statement("a..b", "hmac-sha256", secret64), 0o600, "is not a domain name"},
		{"SIG(0) private", "Private-key-format: v1.3\nAlgorithm: 13\n", 0o600, ErrSIG0.Error()},
		{"SIG(0) public", "vm1. IN KEY 512 3 13 abc==\n", 0o600, ErrSIG0.Error()},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		keys, err := LoadKeys(path)
		var got []string
		for _, k := range keys {
			got = append(got, k.Name())
		}
		switch {
		case err == nil && strings.Join(got, " ") != tt.want:
			t.Errorf("%s: keys %v, want %s", tt.name, got, tt.want)
		case err != nil && (!errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), path+": ") || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), secret64[:20]) {
			t.Errorf("%s: the error tells the secret", tt.name)
		}
	}
}

func TestKeyFileKinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo: "not a regular file", dir: "not a regular file", filepath.Join(dir, "none"): "no such file",
	} {
		if _, err := LoadKeys(path); !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	path := filepath.Join(dir, "key")
	if err := os.WriteFile(path, []byte(statement("a", "hmac-sha256", secret64)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeys(path); !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("another user's file: %v", err)
	}
}

func TestKeyHidesItsSecret(t *testing.T) {
	t.Parallel()
	k, err := NewKey("a", "hmac-sha256", []byte(strings.Repeat("geheim", 6)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprintf("%v %+v %#v %s", k, k, k, k), fmt.Sprintf("%v %#v", []Key{k}, []Key{k})} {
		if strings.Contains(s, "geheim") || strings.Contains(s, "103, 101") {
			t.Errorf("it prints itself as %s", s)
		}
	}
}
