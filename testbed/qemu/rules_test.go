package qemu

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var document = flag.String("document", "", "put the rules of one VM, as tc shows them, between the marks of this Markdown file")

// rulesShown has tc show the filters of one VM.
var rulesShown = Step{
	Name: "rules of one VM", Figures: "/tmp/shown.json",
	Command: []string{Payload + "/tests/detect.test", "-test.run", "TestShown", "-shown", "/tmp/shown.json"},
}

const (
	rulesBegin = "<!-- rules: begin; written by the testbed, see docs/lab.md -->\n"
	rulesEnd   = "<!-- rules: end -->\n"
)

// writeRules puts what tc shows into a document.
func writeRules(t *testing.T, file string, data json.RawMessage) {
	t.Helper()
	text, err := rulesText(data)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, began := strings.Cut(string(read(t, file)), rulesBegin)
	_, after, ended := strings.Cut(rest, rulesEnd)
	if !began || !ended {
		t.Fatalf("%s has no marks %q and %q", file, rulesBegin, rulesEnd)
	}
	if err := os.WriteFile(file, []byte(before+rulesBegin+text+rulesEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// rulesText is what tc shows, as it is but for blanks at the ends of lines.
func rulesText(data json.RawMessage) (string, error) {
	var shown map[string]map[string]string
	if err := json.Unmarshal(data, &shown); err != nil {
		return "", fmt.Errorf("qemu: rules of one VM: %w", err)
	}
	var b strings.Builder
	for _, part := range []struct{ state, port, title string }{
		{"serving", "fab0", "The VM runs here: packets to it, on the uplink"},
		{"serving", "vm0", "The VM runs here: packets from it, on its representor"},
		{"moved", "fab0", "The VM has moved, and new flows are dropped: the uplink"},
	} {
		text := shown[part.state][part.port]
		if text == "" {
			return "", fmt.Errorf("qemu: rules of one VM: nothing of %s, %s", part.port, part.state)
		}
		fmt.Fprintf(&b, "\n<details><summary>%s</summary>\n\n```\n# tc -s filter show dev %s ingress\n", part.title, part.port)
		for line := range strings.Lines(strings.TrimSpace(text)) {
			b.WriteString(strings.TrimRight(line, " \n") + "\n")
		}
		b.WriteString("```\n\n</details>\n")
	}
	b.WriteString("\n")
	return b.String(), nil
}

func TestRulesText(t *testing.T) {
	t.Parallel()
	data := json.RawMessage(`{"serving":{"fab0":"one \n  two\n\n","vm0":"three"},"moved":{"fab0":"four"}}`)
	got, err := rulesText(data)
	if err != nil {
		t.Fatal(err)
	}
	if want := "\n```\n# tc -s filter show dev fab0 ingress\none\n  two\n```\n"; !strings.Contains(got, want) {
		t.Errorf("(-want in, +got):\n%s", cmp.Diff(want, got))
	}
	if _, err := rulesText(json.RawMessage(`{"serving":{"fab0":"one"}}`)); err == nil {
		t.Error("a state that is missing was passed over")
	}
	file := t.TempDir() + "/page.md"
	if err := os.WriteFile(file, []byte("before\n"+rulesBegin+"old\n"+rulesEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeRules(t, file, data)
	if page := string(read(t, file)); page != "before\n"+rulesBegin+got+rulesEnd+"after\n" {
		t.Errorf("the page is\n%s", page)
	}
}
