package docscheck

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

func TestEveryKey(t *testing.T) {
	doc := operations(t)
	for _, c := range []struct{ section, folder, root string }{
		{"agent.toml", "cmd/dpmip-agent", "config"},
		{"mgmt.toml", "cmd/dpmip-mgmt", "config"},
		{"inventory.toml", "mgmt/inventory", "file"},
		{"router.toml", "cmd/dpmip-router", "config"},
		{"observer.toml", "cmd/dpmip-router", "observerConfig"},
	} {
		t.Run(c.section, func(t *testing.T) {
			keys := below(t, c.folder, "internal/peerconf").keys(t, c.root)
			doc.wantRows(t, c.section, sortedKeys(keys))
			for name, row := range doc.section(t, c.section).rows() {
				required, known := keys[name]
				if !known && strings.Contains(row, "`"+name+"`") {
					t.Errorf("docs/operations.md, section %q: %s has no key `%s`", c.section, c.folder, name)
				}
				if known && required != strings.Contains(row, "| **required** |") {
					t.Errorf("docs/operations.md, section %q, `%s`: required in the sources is %v", c.section, name, required)
				}
			}
		})
	}
}

func TestEveryStatus(t *testing.T) {
	rows := operations(t).section(t, "Protocol statuses").rows()
	defined := read(t, "mobility/status.go").constants("Status")
	if len(defined) == 0 {
		t.Fatal("no status was found in the sources")
	}
	for name, value := range defined {
		var s mobility.Status
		if _, err := fmt.Sscan(value, &s); err != nil {
			t.Errorf("%s = %s: %v", name, value, err)
		}
		if want := fmt.Sprintf("| %d | %s |", s, s); !strings.HasPrefix(rows[value], want) {
			t.Errorf("docs/operations.md, section \"Protocol statuses\": the row of %s is %q, want one that begins with %q", name, rows[value], want)
		}
	}
}

func TestEveryCounter(t *testing.T) {
	doc := operations(t)
	doc.wantRows(t, "Registration", registration.Counters())
	doc.wantRows(t, "Transport", read(t, "mobility/transport/counters.go").list("counterNames"))
	doc.wantRows(t, "Transport", wire.DropReasons())
	doc.wantRows(t, "Agent", below(t, "agent").arguments("count", 0))
	doc.wantRows(t, "Device drops", below(t, "hwabstraction/software").list("dropNames"))
}

// TestEveryLabel is about the words that the management node counts by.
func TestEveryLabel(t *testing.T) {
	text := operations(t).section(t, "Metrics").text()
	mgmt := below(t, "mgmt")
	kinds, details := mgmt.list("kindNames"), slices.Concat(mgmt.arguments("accept", 2), mgmt.assigned("what"))
	if len(kinds) == 0 || len(details) == 0 {
		t.Fatalf("%d kinds and %d details were found in the sources", len(kinds), len(details))
	}
	for _, w := range slices.Concat(kinds, details) {
		if !strings.Contains(text, "`"+w+"`") {
			t.Errorf("docs/operations.md, section \"Metrics\": nothing about the label `%s`", w)
		}
	}
}

var metric = regexp.MustCompile(`^dpmip_[a-z0-9]+_[a-z0-9_]*[a-z0-9]$`)

func TestEveryMetric(t *testing.T) {
	doc := operations(t)
	doc.wantRows(t, "Metrics", below(t, "agent", "mgmt", "router", "cmd", "internal", "hwabstraction", "mobility", "offload").literals(metric))
	bgp := below(t, "router/bgp") // which puts a prefix before its names
	var names []string
	for _, n := range slices.Concat(bgp.arguments("gauge", 0), bgp.arguments("counter", 0)) {
		names = append(names, "dpmip_bgp_"+n)
	}
	doc.wantRows(t, "Metrics", names)
}

func TestEveryStateAndPhaseOfAMove(t *testing.T) {
	const section = "When a move does not go on"
	move := read(t, "mgmt/move.go")
	doc := operations(t)
	doc.wantRows(t, section, move.list("moveStates"))
	var phases []string
	for _, v := range move.constants("Phase") {
		phases = append(phases, v)
	}
	doc.wantRows(t, section, phases)
}

func TestEveryCheckOfDoctor(t *testing.T) {
	checks := below(t, "agent/daemon", "mgmt/server", "hwabstraction/detect", "cmd")
	names := slices.Concat(checks.fields("Check", "Name"), checks.arguments("sysctl", 0), checks.arguments("sysctlIs", 0), checks.arguments("capability", 0))
	for _, f := range read(t, "hwabstraction/capability.go").constants("Feature") {
		names = append(names, "feature "+f)
	}
	operations(t).wantRows(t, "Health and doctor", names)
}

func TestEveryCommand(t *testing.T) {
	help, err := os.ReadFile("../../cmd/dpmipctl/testdata/help.txt")
	if err != nil {
		t.Fatal(err)
	}
	text := operations(t).section(t, "dpmipctl").text()
	found := regexp.MustCompile(`(?m)^== dpmipctl (.+)$`).FindAllStringSubmatch(string(help), -1)
	if len(found) == 0 {
		t.Fatal("no command was found in the help")
	}
	for _, m := range found {
		if !strings.Contains(text, "`"+m[1]) {
			t.Errorf("docs/operations.md, section \"dpmipctl\": nothing about `%s`", m[1])
		}
	}
}

func TestEveryExitCodeAndVariable(t *testing.T) {
	env := read(t, "cmd/dpmipctl/env.go")
	doc := operations(t)
	var codes []string
	for _, v := range env.constants("exit") {
		codes = append(codes, v)
	}
	doc.wantRows(t, "Exit codes", codes)
	doc.wantRows(t, "Environment", env.literals(regexp.MustCompile(`^DPMIP_[A-Z_]+$`)))
}

var link = regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]+))?\)`)

func TestEveryLink(t *testing.T) {
	doc := operations(t)
	anchors := map[string]bool{}
	for _, l := range doc.lines {
		if d := level(l); d > 0 {
			anchors[anchor(l[d+1:])] = true
		}
	}
	for _, m := range link.FindAllStringSubmatch(doc.text(), -1) {
		switch file, to := m[1], m[2]; {
		case file == "" && !anchors[to]:
			t.Errorf("docs/operations.md: a link to the heading #%s, which is not there", to)
		case file != "":
			if _, err := os.Stat("../../docs/" + file); err != nil {
				t.Errorf("docs/operations.md: a link to a file: %v", err)
			}
		}
	}
}

// anchor is what a heading is linked to by.
func anchor(heading string) string {
	keep := func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return -1
	}
	return strings.Map(keep, strings.ToLower(heading))
}
