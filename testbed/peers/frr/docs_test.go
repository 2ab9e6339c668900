package frr_test

import (
	"os"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/router/igp"
)

const page = "../../../docs/fabric.md"

// TestPageShowsTheConfigurations: what an operator copies is what is tested here.
func TestPageShowsTheConfigurations(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{"dc1's border": borderRoles, "dc2's border": farBorder}
	for _, p := range igp.Protocols {
		blocks[p.String()+" at the ToR"] = configOf(p, 1)
		blocks[p.String()+", the fragment"] = options(p).Fragment()
		blocks[p.String()+", elsewhere"] = elsewhere[p]
	}
	for name, block := range blocks {
		if !strings.Contains(string(text), strings.TrimSpace(block)) {
			t.Errorf("%s does not show %s:\n%s", page, name, block)
		}
	}
}
