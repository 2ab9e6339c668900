package docscheck

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// page is the document, by section.
type page struct{ lines []string }

func operations(t *testing.T) page {
	t.Helper()
	b, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	return page{strings.Split(string(b), "\n")}
}

// level is the depth of a heading, 0 for any other line.
func level(line string) int {
	n := len(line) - len(strings.TrimLeft(line, "#"))
	if n < len(line) && line[n] == ' ' {
		return n
	}
	return 0
}

// section is what stands below a heading, deeper headings included.
func (p page) section(t *testing.T, heading string) page {
	t.Helper()
	for i, l := range p.lines {
		depth := level(l)
		if depth == 0 || strings.TrimSpace(l[depth:]) != heading {
			continue
		}
		rest := p.lines[i+1:]
		end := slices.IndexFunc(rest, func(l string) bool { d := level(l); return d > 0 && d <= depth })
		if end < 0 {
			end = len(rest)
		}
		return page{rest[:end]}
	}
	t.Fatalf("docs/operations.md has no section %q", heading)
	return page{}
}

func (p page) text() string { return strings.Join(p.lines, "\n") }

var quoted = regexp.MustCompile("`([^`]+)`")

// rows gives the lines of tables by the quoted words of their first cell, or by
// the bare cell where nothing is quoted.
func (p page) rows() map[string]string {
	out := map[string]string{}
	for _, l := range p.lines {
		cells := strings.Split(l, "|")
		if len(cells) < 3 || cells[0] != "" {
			continue
		}
		names := quoted.FindAllStringSubmatch(cells[1], -1)
		if names == nil {
			out[strings.TrimSpace(cells[1])] = l
		}
		for _, n := range names {
			out[n[1]] = l
		}
	}
	return out
}

// wantRows fails for each name without a row of its own in the section.
func (p page) wantRows(t *testing.T, heading string, names []string) {
	t.Helper()
	if len(names) == 0 {
		t.Fatalf("nothing was found in the sources for section %q: the test reads them wrongly", heading)
	}
	rows := p.section(t, heading).rows()
	for _, n := range names {
		if _, ok := rows[n]; !ok {
			t.Errorf("docs/operations.md, section %q: no row for `%s`", heading, n)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
