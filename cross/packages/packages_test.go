package packages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestVersion(t *testing.T) {
	for release, want := range map[string]string{
		"v1.2.3":              "1.2.3",
		"v1.2.3-dirty":        "1.2.3+dirty",
		"v1.2.3-14-gabcdef0":  "1.2.3+14.gabcdef0",
		"v1.2.3-1-gabc-dirty": "1.2.3+1.gabc.dirty",
		"daad0df":             "0.0.0+gdaad0df",
		"daad0df-dirty":       "0.0.0+gdaad0df.dirty",
		"release/2026_1":      "0.0.0+grelease.2026.1",
		"unknown":             "0.0.0+gunknown",
	} {
		if got := Version(release); got != want {
			t.Errorf("%s: %s, want %s", release, got, want)
		}
	}
}

func TestSpec(t *testing.T) {
	for _, p := range Programs {
		t.Run(p.Name, func(t *testing.T) {
			in := Input{Program: p, Arch: "arm64", Version: "1.2.3", Epoch: 1e9, Binary: "/b/" + p.Name, Root: "/src", Man: "/m.gz", Scratch: t.TempDir()}
			if !p.Daemon {
				in.Completion = map[string]string{"bash": "/c.bash", "zsh": "/c.zsh", "fish": "/c.fish"}
			}
			spec, err := in.Spec()
			if err != nil {
				t.Fatal(err)
			}
			want := []string{`version: "1.2.3"`, `mtime: "2001-09-09T01:46:40Z"`, `dst: "/usr/bin/` + p.Name + `"`, "mode: 0755"}
			if p.Daemon {
				want = append(want, "/usr/lib/systemd/system/"+p.Name+".service", `type: "config|noreplace"`, "postinstall:")
			} else {
				want = append(want, "/usr/share/bash-completion/completions/dpmipctl")
			}
			for _, w := range want {
				if !strings.Contains(spec, w) {
					t.Errorf("no %s in:\n%s", w, spec)
				}
			}
			if strings.Contains(spec, "license") {
				t.Error("a licence is claimed that the project does not state")
			}
		})
	}
}

// TestUnits holds what an operator relies on: stopping an agent stops no
// forwarding, and nothing runs with more rights than it needs.
func TestUnits(t *testing.T) {
	for _, p := range Programs {
		if !p.Daemon {
			continue
		}
		b, err := files.ReadFile("units/" + p.Name + ".service")
		if err != nil {
			t.Fatal(err)
		}
		unit := string(b)
		for _, line := range []string{
			"Type=notify", "WatchdogSec=", "Restart=always", "RuntimeDirectoryPreserve=yes", "CapabilityBoundingSet=CAP_",
			"NoNewPrivileges=yes", "ProtectSystem=strict", "SystemCallFilter=", "ExecStart=/usr/bin/" + p.Name + " --config /etc/dpmip/",
		} {
			if !strings.Contains(unit, "\n"+line) {
				t.Errorf("%s: no %s", p.Name, line)
			}
		}
		for _, never := range []string{"ExecStop", "ExecStopPost", "RemainAfterExit", "PrivateNetwork=yes"} {
			if strings.Contains(unit, never) {
				t.Errorf("%s: %s", p.Name, never)
			}
		}
	}
}

// TestEveryExampleIsPackaged: what a program has an example of is in its package,
// under the same name.
func TestEveryExampleIsPackaged(t *testing.T) {
	for _, p := range Programs {
		examples, err := filepath.Glob("../../cmd/" + p.Name + "/example/*.toml")
		if err != nil || p.Daemon && len(examples) == 0 {
			t.Fatalf("%s: %v, %v", p.Name, examples, err)
		}
		want := map[string]string{}
		for _, file := range examples {
			want[filepath.Base(file)] = strings.TrimPrefix(file, "../../")
		}
		if diff := cmp.Diff(want, p.Config, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-examples +packaged):\n%s", p.Name, diff)
		}
	}
}

// TestScripts runs the packages' scripts where there is no systemd to talk to.
func TestScripts(t *testing.T) {
	in := Input{Program: Programs[0], Scratch: t.TempDir()}
	if _, err := in.scripts(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dpmip-agent.postinstall", "dpmip-agent.preremove"} {
		b, err := os.ReadFile(filepath.Join(in.Scratch, name))
		if err != nil || !strings.Contains(string(b), `"dpmip-agent.service"`) || strings.Contains(string(b), "@UNIT@") {
			t.Errorf("%s: %v: %s", name, err, b)
		}
	}
}
