package bind_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/testbed/peers/bind"
)

const page = "../../../docs/dns.md"

func read(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPageShowsTheConfiguration: what an operator copies is what is tested here.
func TestPageShowsTheConfiguration(t *testing.T) {
	t.Parallel()
	text := read(t)
	cfg := primaryConfig(bind.Key{}, bind.Key{})
	for _, z := range append(cfg.Zones, secondaryConfig().Zones[0]) {
		if !strings.Contains(text, z.Statement()) {
			t.Errorf("%s does not show this statement:\n%s", page, z.Statement())
		}
	}
}

// TestPageNamesEveryFailure: each kind has its line in the table.
func TestPageNamesEveryFailure(t *testing.T) {
	t.Parallel()
	text := read(t)
	n := 0
	for k := dnsupdate.FailureUnreachable; !strings.HasPrefix(k.String(), "failure"); k++ {
		n++
		if !strings.Contains(text, "| `"+k.String()+"` |") {
			t.Errorf("%s has no line for the failure %s", page, k)
		}
	}
	if n < 10 {
		t.Errorf("only %d failures were looked at", n)
	}
}

// block is the TOML of the page that begins so.
func block(t *testing.T, begin string) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t), "```toml\n"+begin)
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("%s shows no TOML that begins with %q", page, begin)
	}
	return begin + text
}

// TestPageHasServices reads the page's service list as the management node would.
func TestPageHasServices(t *testing.T) {
	t.Parallel()
	inv, err := inventory.Parse(page, []byte(block(t, "[[vm]]")))
	if err != nil {
		t.Fatal(err)
	}
	if err := inv.CheckNames([]string{forward}); err != nil {
		t.Error(err)
	}
	if err := inv.CheckNames([]string{reverse4}); err == nil || !strings.HasPrefix(err.Error(), page+":") {
		t.Errorf("a name without a zone: %v", err)
	}
}

// TestPageConfigures loads the page's TOML as a daemon would.
func TestPageConfigures(t *testing.T) {
	t.Parallel()
	text := block(t, "resolver = ")
	dir := t.TempDir()
	for name, key := range map[string]string{"mgmt.key": "mgmt.", "mgmt-next.key": "mgmt-2.", "vm1.key": "vm1."} {
		if err := bind.NewKey(key, "hmac-sha256").WriteFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "dns.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := strictconf.Load[dnsupdate.Config](path)
	if err != nil {
		t.Fatal(err)
	}
	zones, err := cfg.LoadZones()
	if err != nil || len(zones) != 3 || len(zones[0].Keys) != 2 || len(zones[0].VMKeys) != 1 {
		t.Errorf("zones %v, %v", zones, err)
	}
}
