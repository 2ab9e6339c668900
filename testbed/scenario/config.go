package scenario

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/dpmip/dpmip/internal/authority"
	"github.com/dpmip/dpmip/testbed/topology"
)

// timers of every program in the lab: a data centre's, and short enough to see
// a drain in a run.
const timers = `
[timers]
first_retry = "20ms"
retry       = "20ms"
max_retry   = "1s"
heartbeat   = "1s"
misses      = 3
`

var templates = template.Must(template.New("").Funcs(template.FuncMap{"list": tomlList}).Parse(`
{{define "mgmt"}}state_dir = "{{.Dir}}/state"
locators = {{list .Locators}}
inventory = "inventory.toml"
admin_socket = "{{.Dir}}/mgmt.sock"
log_level = "debug"

[admin]
listen = "{{.Listen}}"
cert = "{{.TLS.Cert}}"
key = "{{.TLS.Key}}"
client_ca = "{{.TLS.CA}}"
operators = ["operator"]
{{.Tables}}
{{end}}

{{define "agent"}}name = "{{.Name}}"
state_dir = "{{.Dir}}/state"
control_socket = "{{.Dir}}/agent.sock"
locators = {{list .Locators}}
ranges = {{list .Ranges}}
pools = {{list .Pools}}
port_template = "{vm}"
log_level = "debug"

[[management]]
locator = "{{.Mgmt}}"
keys = [{ send = {{.Keys.ToMgmt}}, receive = {{.Keys.ToPeer}}, key = "hex:{{.Keys.Secret}}" }]

[report]
target = "{{.Report}}"
ca = "{{.TLS.CA}}"
cert = "{{.TLS.Cert}}"
key = "{{.TLS.Key}}"
{{if .Traffic}}traffic = "{{.Traffic}}"{{end}}

[device]
backend = "{{.Backend}}"
{{if eq .Backend "software"}}attach = "{{.Attach}}"{{else}}skip_hw = true{{end}}
fabric = ["{{.Fabric}}"]
bpf_dir = "{{.BPF}}"

[region]
path = "{{.Region}}"
{{.Extra}}
` + timers + `drain_quiet = "{{.Drain}}"
drain_poll  = "50ms"
drain_retry = "200ms"
quarantine  = "{{.Drain}}"
{{end}}

{{define "router"}}state_dir = "{{.Dir}}/state"
admin_socket = "{{.Dir}}/router.sock"
locators = {{list .Locators}}
log_level = "debug"
{{.Top}}
[[management]]
locator = "{{.Mgmt}}"
keys = [{ send = {{.Keys.ToMgmt}}, receive = {{.Keys.ToPeer}}, key = "hex:{{.Keys.Secret}}" }]

[report]
name = "{{.Name}}"
target = "{{.Report}}"
ca = "{{.TLS.CA}}"
cert = "{{.TLS.Cert}}"
key = "{{.TLS.Key}}"
` + timers + `{{.Tables}}{{end}}

{{define "inventory"}}[policy]
tickets = true
allow_unknown_vms = false
{{.Policy}}

[lifetimes]
binding = "{{.Lifetime}}"
quarantine = "{{.Drain}}"
{{if .Grace}}grace = "{{.Grace}}"{{end}}
` + timers + `
{{range .Sites}}
[[site]]
name = "{{.Name}}"
nat = {{list .NAT}}
{{end}}
{{range .Hypervisors}}
[[hypervisor]]
name = "{{.Name}}"
locators = {{list .Locators}}
ranges = {{list .Ranges}}
pools = {{list .Pool.Both}}
router = "{{.Router}}"
{{if .Site}}site = "{{.Site}}"{{end}}
keys = [{ send = {{.Keys.ToPeer}}, receive = {{.Keys.ToMgmt}}, key = "hex:{{.Keys.Secret}}" }]
{{end}}
{{range .Routers}}
[[router]]
name = "{{.Name}}"
role = "{{.Role}}"
locators = {{list .Locators}}
{{if .Uplinks}}uplinks = {{list .Uplinks}}{{end}}
keys = [{ send = {{.Keys.ToPeer}}, receive = {{.Keys.ToMgmt}}, key = "hex:{{.Keys.Secret}}" }]
{{end}}
{{range .Observers}}
[[observer]]
name = "{{.Name}}"
{{end}}
{{range .VMs}}
[[vm]]
id = "{{.ID}}"
{{index $.Services .ID}}
{{end}}
{{end}}
`))

// tomlList writes values as an array of strings.
func tomlList(values any) string {
	var b bytes.Buffer
	item := func(v any) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", fmt.Sprint(v))
	}
	switch l := values.(type) {
	case []netip.Addr:
		for _, v := range l {
			item(v)
		}
	case []netip.Prefix:
		for _, v := range l {
			item(v)
		}
	case []string:
		for _, v := range l {
			item(v)
		}
	}
	return "[" + b.String() + "]"
}

// write renders a template into a file of the node and returns its path.
func write(dir, file, name string, data any) (string, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("scenario: %s: %w", file, err)
	}
	path := filepath.Join(dir, file)
	return path, os.WriteFile(path, b.Bytes(), 0o600)
}

type agentConfig struct {
	Name, Dir, Report, Backend, Attach, Fabric, BPF, Region, Extra, Drain string
	Traffic                                                               time.Duration // 0 = the agent's default
	Locators                                                              []netip.Addr
	Ranges, Pools                                                         []netip.Prefix
	Mgmt                                                                  netip.Addr
	Keys                                                                  pairKeys
	TLS                                                                   authority.Files
}

type mgmtConfig struct {
	Dir      string
	Locators []netip.Addr
	Listen   netip.AddrPort // of the admin interface over mutual TLS
	TLS      authority.Files
	Tables   string // further tables
}

type routerConfig struct {
	Name, Dir, Report string

	TLS      authority.Files
	Locators []netip.Addr
	Mgmt     netip.Addr
	Keys     pairKeys

	Top, Tables string // further keys of the top level, and tables
}

type inventoryConfig struct {
	Sites                   []inventorySite
	Observers               []observerPlace
	Hypervisors             []inventoryHypervisor
	Routers                 []inventoryRouter
	VMs                     []topology.VM
	Lifetime, Drain, Policy string
	Grace                   time.Duration
	Services                map[string]string // lines added to a VM's table, by its identifier
}

// inventorySite is a data centre and what lies behind its NAT box.
type inventorySite struct {
	Name string
	NAT  []netip.Prefix
}

type inventoryHypervisor struct {
	*topology.Hypervisor
	Locators []netip.Addr
	Keys     pairKeys
}

type inventoryRouter struct {
	topology.Router
	Locators []netip.Addr
	Keys     pairKeys
}
