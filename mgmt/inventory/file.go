package inventory

import (
	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/internal/peerconf"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility"
)

// file is the TOML form. Every key is documented in docs/operations.md.
type file struct {
	Hypervisors []hypervisorTable `toml:"hypervisor"`
	Routers     []routerTable     `toml:"router"`
	Observers   []observerTable   `toml:"observer"`
	Sites       []siteTable       `toml:"site"`
	VMs         []vmTable         `toml:"vm"`
	Policy      policyTable       `toml:"policy"`
	Lifetimes   lifetimeTable     `toml:"lifetimes"`
	Timers      timerTable        `toml:"timers"`
}

type hypervisorTable struct {
	Name     string              `toml:"name,required"`
	Locators []strictconf.Addr   `toml:"locators,required"`
	Ranges   []strictconf.Prefix `toml:"ranges"`
	Pools    []strictconf.Prefix `toml:"pools"`
	Router   string              `toml:"router"`
	Site     string              `toml:"site"`
	Keys     []peerconf.Key      `toml:"keys"`
}

type siteTable struct {
	Name string              `toml:"name,required"`
	NAT  []strictconf.Prefix `toml:"nat"`
}

type routerTable struct {
	Name     string            `toml:"name,required"`
	Role     string            `toml:"role,required"`
	Locators []strictconf.Addr `toml:"locators,required"`
	Uplinks  []string          `toml:"uplinks"`
	Keys     []peerconf.Key    `toml:"keys"`
}

// observerTable is a router that is not told of host routes.
type observerTable struct {
	Name string `toml:"name,required"`
}

type vmTable struct {
	ID          mobility.VMID       `toml:"id,required"`
	Hypervisors []string            `toml:"hypervisors"`
	Services    *dnsupdate.Services `toml:"services"`
	Standby     bool                `toml:"standby"`
}

type policyTable struct {
	Tickets               *bool         `toml:"tickets"`
	AllowUnknownVMs       bool          `toml:"allow_unknown_vms"`
	AdoptHigherEpochs     bool          `toml:"adopt_higher_epochs"`
	AcceptUnauthenticated bool          `toml:"insecure_accept_unauthenticated"`
	Defaults              defaultsTable `toml:"defaults"`
	Proofs                proofTable    `toml:"proofs"`
	Budget                budgetTable   `toml:"budget"`
	Allow                 []allowTable  `toml:"allow"`
}

type defaultsTable struct {
	Mode      mobility.Mode           `toml:"mode"`
	Addresses mobility.Addressing     `toml:"addresses"`
	Redirect  mobility.RedirectMode   `toml:"redirect"`
	New       mobility.NewConnections `toml:"new"`
}

type allowTable struct {
	VMs  []string `toml:"vms"`
	From []string `toml:"from"`
	To   []string `toml:"to"`
}

type lifetimeTable struct {
	Binding    strictconf.Duration `toml:"binding"`
	Redirect   strictconf.Duration `toml:"redirect"`
	Route      strictconf.Duration `toml:"route"`
	Prepare    strictconf.Duration `toml:"prepare"`
	Grace      strictconf.Duration `toml:"grace"`
	Quarantine strictconf.Duration `toml:"quarantine"`
	History    strictconf.Duration `toml:"history"`
}

type timerTable struct {
	FirstRetry strictconf.Duration `toml:"first_retry"`
	Retry      strictconf.Duration `toml:"retry"`
	MaxRetry   strictconf.Duration `toml:"max_retry"`
	Heartbeat  strictconf.Duration `toml:"heartbeat"`
	Misses     int                 `toml:"misses"`
	Window     strictconf.Duration `toml:"window"`
}

// Load reads the inventory file. Every problem is a *strictconf.Error with the
// line where it stands.
func Load(path string) (*Inventory, error) {
	var f file
	src, err := strictconf.LoadInto(path, &f)
	if err != nil {
		return nil, err
	}
	return build(&f, src)
}

// Parse is Load for bytes; name stands for the file in errors.
func Parse(name string, data []byte) (*Inventory, error) {
	var f file
	src, err := strictconf.Parse(name, data, &f)
	if err != nil {
		return nil, err
	}
	return build(&f, src)
}
