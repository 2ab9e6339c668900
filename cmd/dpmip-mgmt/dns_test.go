package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckConfigOfNames: the examples with their comments about the DNS taken
// off are good; what is wrong is said with its place.
func TestCheckConfigOfNames(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file, old, new, want string
		mode                 os.FileMode
	}{
		"good":             {mode: 0o600},
		"open key file":    {mode: 0o644, want: "dns.key: mode 0644 lets others at it, want 0600"},
		"no key file":      {"mgmt.toml", `"dns.key"`, `"other.key"`, "mgmt.toml:40: dns: dnsupdate: configuration: zone[0] dc1.example.: dnsupdate: key file", 0o600},
		"no key":           {"mgmt.toml", `keys = ["dns.key"]`, "", "zone[0] dc1.example.: no keys: updates are always signed", 0o600},
		"half a second":    {"mgmt.toml", `move_ttl = "5s"`, `move_ttl = "500ms"`, "move_ttl 500ms, want whole seconds", 0o600},
		"nobody to ask":    {"mgmt.toml", `servers = ["192.0.2.53:53"]`, "", "no servers, and no resolver to find them", 0o600},
		"unknown key":      {"mgmt.toml", "secondaries", "slaves", "mgmt.toml:45: dns.zone[0].slaves: unknown key", 0o600},
		"no zone":          {"inventory.toml", "www.dc1.example", "www.dc2.example", "inventory.toml:78: vm[0].services: dnsupdate: no zone for www.dc2.example. among dc1.example.", 0o600},
		"names without it": {"mgmt.toml", "[dns]", "#", "inventory.toml:78: vm[0].services: dnsupdate: no zone for www.dc1.example.", 0o600},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := example(t, func(file, text string) string {
				text = uncomment(text)
				if file != tc.file {
					return text
				}
				if !strings.Contains(text, tc.old) {
					t.Fatalf("%q is not in %s", tc.old, file)
				}
				if tc.new == "#" {
					return text[:strings.Index(text, tc.old)]
				}
				return strings.Replace(text, tc.old, tc.new, 1)
			})
			key := `key "mgmt" { algorithm hmac-sha256; secret "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="; };`
			file := filepath.Join(filepath.Dir(path), "dns.key")
			if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, tc.mode); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err := run(t.Context(), []string{"--config", path, "--check-config"}, &out, &out)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("err = %v\nwant it to contain %q", err, tc.want)
			}
		})
	}
}

// uncomment takes the mark off the lines that the examples have about the DNS.
func uncomment(text string) string {
	before, about, found := strings.Cut(text, "#[dns]")
	if found {
		return before + "[dns]" + strings.ReplaceAll(about, "\n#", "\n")
	}
	return strings.Replace(text, "#services", "services", 1)
}
