package packages

import (
	"embed"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed units/*.service scripts/*.sh
var files embed.FS

// Program is one that has a package of its own, named like it.
type Program struct {
	Name    string
	Summary string
	Daemon  bool
	Section int               // of its man page
	Config  map[string]string // files of /etc/dpmip, by name: where they are taken from
}

// Programs are all packages.
var Programs = []Program{
	{
		Name: "dpmip-agent", Daemon: true, Section: 8, Summary: "hot VM moves without tunnels: the agent of a hypervisor or its DPU",
		Config: map[string]string{"agent.toml": "cmd/dpmip-agent/example/agent.toml"},
	},
	{
		Name: "dpmip-mgmt", Daemon: true, Section: 8, Summary: "hot VM moves without tunnels: the management node",
		Config: map[string]string{"mgmt.toml": "cmd/dpmip-mgmt/example/mgmt.toml", "inventory.toml": "cmd/dpmip-mgmt/example/inventory.toml"},
	},
	{
		Name: "dpmip-router", Daemon: true, Section: 8, Summary: "hot VM moves without tunnels: host routes of a router",
		Config: map[string]string{"router.toml": "cmd/dpmip-router/example/router.toml", "observer.toml": "cmd/dpmip-router/example/observer.toml"},
	},
	{Name: "dpmipctl", Section: 1, Summary: "hot VM moves without tunnels: the operator's command"},
}

var described = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)(?:-(\d+)-g([0-9a-f]+))?(-dirty)?$`)

// foreign is what a version may not hold.
var foreign = regexp.MustCompile(`[^0-9A-Za-z.]`)

// Version turns what git describe says into a version that dpkg and rpm accept
// and order: "v1.2.3-4-gabc" becomes 1.2.3+4.gabc, a bare commit 0.0.0+gabc.
func Version(release string) string {
	m := described.FindStringSubmatch(release)
	if m == nil {
		commit, dirty := strings.CutSuffix(release, "-dirty")
		m = []string{"", "0.0.0", "", foreign.ReplaceAllString(commit, "."), ""}
		if dirty {
			m[4] = "-dirty"
		}
	}
	var more []string
	if m[2] != "" {
		more = append(more, m[2])
	}
	if m[3] != "" {
		more = append(more, "g"+m[3])
	}
	if m[4] != "" {
		more = append(more, "dirty")
	}
	if len(more) == 0 {
		return m[1]
	}
	return m[1] + "+" + strings.Join(more, ".")
}

// Input is what one package is made from; all paths are absolute.
type Input struct {
	Program Program
	Arch    string // as GOARCH; nfpm translates it
	Version string // of Version
	Epoch   int64  // time of all files
	Binary  string
	Root    string // of the source: configuration files are below it
	Man     string // the man page, gzip
	// Completion holds the shells' files for dpmipctl: bash, zsh, fish.
	Completion map[string]string
	Scratch    string // units and scripts are written there
}

// completionPaths by shell.
var completionPaths = map[string]string{
	"bash": "/usr/share/bash-completion/completions/dpmipctl",
	"zsh":  "/usr/share/zsh/vendor-completions/_dpmipctl",
	"fish": "/usr/share/fish/vendor_completions.d/dpmipctl.fish",
}

// content is one line of nfpm's "contents".
type content struct {
	from, to, kind string
	mode           int
}

// Spec gives nfpm's configuration for one package.
func (in Input) Spec() (string, error) {
	p := in.Program
	list := []content{
		{from: in.Binary, to: "/usr/bin/" + p.Name, mode: 0o755},
		{from: in.Man, to: fmt.Sprintf("/usr/share/man/man%d/%s.%d.gz", p.Section, p.Name, p.Section), mode: 0o644},
	}
	for _, name := range sorted(p.Config) {
		list = append(list, content{from: filepath.Join(in.Root, p.Config[name]), to: "/etc/dpmip/" + name, kind: "config|noreplace", mode: 0o600})
	}
	for _, shell := range sorted(in.Completion) {
		list = append(list, content{from: in.Completion[shell], to: completionPaths[shell], mode: 0o644})
	}
	scripts := ""
	if p.Daemon {
		unit, err := in.write("units/"+p.Name+".service", p.Name+".service", 0o644)
		if err != nil {
			return "", err
		}
		list = append(list, content{from: unit, to: "/usr/lib/systemd/system/" + p.Name + ".service", mode: 0o644})
		if scripts, err = in.scripts(); err != nil {
			return "", err
		}
	}
	return in.header() + contents(list, in.Epoch) + scripts, nil
}
