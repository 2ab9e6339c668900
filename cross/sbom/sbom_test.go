package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestOfItself describes the test's own program, which Go has built.
func TestOfItself(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a, err := Of(self, "v1", self)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Of(self, "v1", self)
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("two documents of one program differ: %v", err)
	}
	var d document
	if err := json.Unmarshal(a, &d); err != nil {
		t.Fatal(err)
	}
	if d.Format != "CycloneDX" || !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(d.Serial) {
		t.Errorf("%+v", d)
	}
	refs := map[string]bool{"artefact": true}
	std := false
	for _, c := range d.Components {
		refs[c.Ref] = true
		std = std || strings.HasPrefix(c.PURL, "pkg:golang/std@1.")
	}
	if !std {
		t.Error("the standard library is missing")
	}
	for _, dep := range d.Dependencies {
		for _, on := range append(dep.On, dep.Ref) {
			if !refs[on] {
				t.Errorf("%s is depended on and not listed", on)
			}
		}
	}
}

func TestNoGoProgram(t *testing.T) {
	if _, err := Of("/bin/sh", "v1", "/bin/sh"); err == nil {
		t.Error("a program of another language was described")
	}
}
