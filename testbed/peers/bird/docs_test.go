package bird_test

import (
	"os"
	"strings"
	"testing"
)

// TestPageShowsTheConfigurations: what an operator copies is what is tested here.
func TestPageShowsTheConfigurations(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/fabric.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]string{"the border's [bgp]": providerRoles, "the provider's BIRD": providerConfig} {
		if !strings.Contains(string(text), strings.TrimSpace(block)) {
			t.Errorf("docs/fabric.md does not show %s:\n%s", name, block)
		}
	}
}
