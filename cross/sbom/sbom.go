package sbom

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// document is the part of CycloneDX 1.5 that is used. No time and no random
// number is in it: the same program has the same document.
type document struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn,omitempty"`
}

// Of gives the document of an artefact and the Go programs in it. With a single
// program that is the artefact itself, both are the same file.
func Of(artefact, version string, programs ...string) ([]byte, error) {
	sum, err := digest(artefact)
	if err != nil {
		return nil, err
	}
	top := component{
		Type: "application", Ref: "artefact", Name: filepath.Base(artefact), Version: version,
		Hashes: []hash{{"SHA-256", sum}},
	}
	d := document{Format: "CycloneDX", Spec: "1.5", Serial: serial(sum), Version: 1, Metadata: metadata{top}}
	root := dependency{Ref: top.Ref}
	seen := map[string]component{}
	for _, p := range programs {
		c, on, mods, err := program(p, version)
		if err != nil {
			return nil, err
		}
		root.On = append(root.On, c.Ref)
		seen[c.Ref] = c
		d.Dependencies = append(d.Dependencies, dependency{c.Ref, on})
		for _, m := range mods {
			seen[m.Ref] = m
		}
	}
	for _, c := range seen {
		d.Components = append(d.Components, c)
	}
	slices.SortFunc(d.Components, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	d.Dependencies = append([]dependency{root}, d.Dependencies...)
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("sbom: %w", err)
	}
	return append(b, '\n'), nil
}

// program reads one: itself, what it depends on, and those.
func program(file, version string) (component, []string, []component, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return component{}, nil, nil, fmt.Errorf("sbom: %w", err)
	}
	sum, err := digest(file)
	if err != nil {
		return component{}, nil, nil, err
	}
	c := component{
		Type: "application", Ref: "program:" + filepath.Base(file), Name: info.Path, Version: version, Hashes: []hash{{"SHA-256", sum}},
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS", "GOARCH", "GOARM64", "GOAMD64", "CGO_ENABLED", "-trimpath", "-tags":
			c.Properties = append(c.Properties, property{"go:" + s.Key, s.Value})
		}
	}
	mods := []component{{
		Type: "library", Ref: "pkg:golang/std@" + info.GoVersion, Name: "std", Version: info.GoVersion,
		PURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"),
	}}
	for _, m := range info.Deps {
		mods = append(mods, module(m))
	}
	var on []string
	for _, m := range mods {
		on = append(on, m.Ref)
	}
	slices.Sort(on)
	return c, on, mods, nil
}

func module(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	purl := "pkg:golang/" + strings.ReplaceAll(url.PathEscape(m.Path), "%2F", "/") + "@" + url.PathEscape(m.Version)
	c := component{Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl}
	if m.Sum != "" { // go.sum's own kind of digest, which CycloneDX has no name for
		c.Properties = []property{{"go:sum", m.Sum}}
	}
	return c
}

func digest(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("sbom: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// serial is a UUID (version 8: our own making) out of the artefact's digest.
func serial(sum string) string {
	return fmt.Sprintf("urn:uuid:%s-%s-8%s-8%s-%s", sum[:8], sum[8:12], sum[13:16], sum[17:20], sum[20:32])
}
