package manpage

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// helps is a program of cobra's, by its words.
var helps = map[string]string{
	"": `ctl does things.

Usage:
  ctl [command]

Available Commands:
  completion  Generate the autocompletion script
  help        Help about any command
  move        change where a VM runs
  moves       list moves

Flags:
  -h, --help   help for ctl
      --json   print JSON
`,
	"move": `change where a VM runs

Usage:
  ctl move [command]

Available Commands:
  prepare     begin a move

Global Flags:
      --json   print JSON
`,
	"move prepare": `begin a move

Usage:
  ctl move prepare VM [flags]

Flags:
      --to string   where "it" goes

Global Flags:
      --json   print JSON
`,
	"moves": `list moves

Usage:
  ctl moves [flags]
`,
}

func help(words ...string) (string, error) {
	text, ok := helps[strings.Join(words, " ")]
	if !ok {
		return "", errors.New("no such command: " + strings.Join(words, " "))
	}
	return text, nil
}

func page(t *testing.T) Page {
	t.Helper()
	global, commands, err := Tree("ctl", help)
	if err != nil {
		t.Fatal(err)
	}
	return Page{
		Name: "ctl", Section: 1, Version: "v1.2", Summary: "does things", Description: []string{"First.", ".second begins like a request"},
		Options: global, Commands: commands, SeeAlso: []string{"other(8)"},
		Files: []File{{Path: "/etc/ctl.toml", Text: "its file", Example: "# a\\b\n.x = 1\n'y = 2\n"}},
	}
}

func TestGolden(t *testing.T) {
	got := page(t).Roff()
	golden := filepath.Join("testdata", "ctl.1")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestManReadsIt lets man's own formatter (Debian package groff-base) judge.
func TestManReadsIt(t *testing.T) {
	cmd := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z")
	cmd.Stdin = strings.NewReader(string(page(t).Roff()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTreeFailsLoudly(t *testing.T) {
	if _, _, err := Tree("ctl", func(...string) (string, error) { return "changed\n", nil }); err == nil {
		t.Error("a help without commands was taken")
	}
	loop := func(...string) (string, error) { return "Available Commands:\n  again  and again\n", nil }
	if _, _, err := Tree("ctl", loop); err == nil || !strings.Contains(err.Error(), "too deep") {
		t.Errorf("err = %v", err)
	}
}

func TestFlags(t *testing.T) {
	if got := Flags("Usage of x:\n  -a\tb\n"); got != "  -a\tb" {
		t.Errorf("%q", got)
	}
}
