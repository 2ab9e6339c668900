package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// example copies the example files to a folder of the test, changed by edit.
func example(t *testing.T, edit func(name, text string) string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"mgmt.toml", "inventory.toml"} {
		b, err := os.ReadFile(filepath.Join("example", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(edit(name, string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "mgmt.toml")
}

func TestCheckConfigOfTheExamples(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	path := example(t, func(_, text string) string { return text })
	if err := run(t.Context(), []string{"--config", path, "--check-config"}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "good: 2 hypervisors, 3 routers") {
		t.Errorf("said %q", out.String())
	}
}

func TestCheckConfigNamesThePlace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ file, old, new, want string }{
		"unknown key":         {"mgmt.toml", "log_level", "loglevel", "mgmt.toml:20: loglevel: unknown key"},
		"no locators":         {"mgmt.toml", `["2001:db8:f::1", "192.0.2.254"]`, "[]", "mgmt.toml:7: locators: is empty"},
		"bad locator":         {"mgmt.toml", `"192.0.2.254"`, `"here"`, "mgmt.toml:7: locators[1]: \"here\" is not an address"},
		"missing":             {"mgmt.toml", `inventory = "inventory.toml"`, "", "inventory: missing"},
		"no such inventory":   {"mgmt.toml", `"inventory.toml"`, `"nothing.toml"`, "nothing.toml: no such file"},
		"tcp without tls":     {"mgmt.toml", "#[admin]\n#listen", "[admin]\nlisten", "mgmt.toml:23: admin: cert is missing: over TCP there is mutual TLS or nothing"},
		"tls without tcp":     {"mgmt.toml", "#[admin]", "[admin]\ncert = \"x\"", "mgmt.toml:24: admin.cert: is of no use without admin.listen"},
		"a peer's locator":    {"mgmt.toml", `"2001:db8:f::1"`, `"2001:db8:f::5"`, "locator 2001:db8:f::5 is also that of spine"},
		"in the inventory":    {"inventory.toml", `router = "tor-b"`, `router = "tor-x"`, "inventory.toml:51: hypervisor[1].router: no router is called \"tor-x\""},
		"unknown store":       {"mgmt.toml", "#[admin]", "[store]\nkind = \"files\"", "mgmt.toml:24: store.kind: \"files\" is not known"},
		"bolt with endpoints": {"mgmt.toml", "#[admin]", "[store]\nendpoints = [\"https://e:2379\"]", "mgmt.toml:24: store.endpoints: is of no use without store.kind = \"etcd\""},
		"etcd nowhere":        {"mgmt.toml", "#[admin]", "[store]\nkind = \"etcd\"", "mgmt.toml:23: store: endpoints is missing"},
		"etcd without scheme": {"mgmt.toml", "#[admin]", "[store]\nkind = \"etcd\"\nendpoints = [\"e:2379\"]", "mgmt.toml:25: store.endpoints: \"e:2379\": want https://"},
		"short lease":         {"mgmt.toml", "#[admin]", "[store]\nkind = \"etcd\"\nendpoints = [\"http://e:2379\"]\nlease = \"10ms\"", "mgmt.toml:26: store.lease: 10ms: want 1s to 1m"},
		"no password":         {"mgmt.toml", "#[admin]", "[store]\nkind = \"etcd\"\nendpoints = [\"http://e:2379\"]\nusername = \"u\"", "mgmt.toml:23: store: username and password_file belong together"},
		"SPI of another peer": {"inventory.toml", "send = 1003", "send = 1001", "inventory.toml:52: hypervisor[1].keys[0].send: SPI 1001 is already"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := example(t, func(file, text string) string {
				if file == tc.file && !strings.Contains(text, tc.old) {
					t.Fatalf("%q is not in %s", tc.old, file)
				}
				if file != tc.file {
					return text
				}
				return strings.Replace(text, tc.old, tc.new, 1)
			})
			var out bytes.Buffer
			err := run(t.Context(), []string{"--config", path, "--check-config"}, &out, &out)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v\nwant it to contain %q", err, tc.want)
			}
		})
	}
}

func TestVersionAndFlags(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--version"}, &out, &out); err != nil || out.Len() == 0 {
		t.Errorf("version: %q, %v", out.String(), err)
	}
	if err := run(t.Context(), []string{"--no-such-flag"}, &out, &out); err == nil {
		t.Error("an unknown flag was accepted")
	}
}
