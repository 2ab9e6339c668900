package dnsupdate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	const head = "resolver = \"[2001:db8::53]:53\"\nmax_retry = \"1m\"\n"
	tests := []struct{ name, text, want string }{
		{"by SOA", head + "[[zone]]\nname = \"example\"\nkeys = [\"zone.key\"]\n", ""},
		{"per VM", "[[zone]]\nname = \"example.\"\nservers = [\"10.0.0.1:53\"]\n[zone.vm_keys]\n\"vm1@example\" = [\"zone.key\"]\n", ""},
		{"no keys", head + "[[zone]]\nname = \"example\"\n", "zone[0] example: no keys"},
		{"no servers", "[[zone]]\nname = \"example\"\nkeys = [\"zone.key\"]\n", "no servers, and no resolver"},
		{"twice", head + "[[zone]]\nname = \"example\"\nkeys = [\"zone.key\"]\n[[zone]]\nname = \"Example.\"\nkeys = [\"zone.key\"]\n", "zone[1] Example. appears twice"},
		{"key file", head + "[[zone]]\nname = \"example\"\nkeys = [\"other.key\"]\n", "other.key: no such file"},
		{"VM", head + "[[zone]]\nname = \"example\"\n[zone.vm_keys]\n\"vm 1\" = [\"zone.key\"]\n", "bad VM identifier"},
		{"name", head + "[[zone]]\nname = \"a..b\"\nkeys = [\"zone.key\"]\n", "not a domain name"},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		write := func(name, text string) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		write("zone.key", statement("zone.", "hmac-sha384", secret64))
		cfg, err := strictconf.Load[Config](write("dns.toml", tt.text))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		zones, err := cfg.LoadZones()
		switch {
		case tt.want != "" && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want == "" && (zones[0].Name != "example." || len(zones[0].keysOf(mobility.NAI("vm1@example"))) != 1):
			t.Errorf("%s: %v", tt.name, zones)
		}
		if tt.name == "by SOA" && cfg.Timing().Max != time.Minute {
			t.Errorf("timing %v", cfg.Timing())
		}
	}
}
