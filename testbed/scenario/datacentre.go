package scenario

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/internal/authority"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/topology"
)

// Settings of a data centre beyond its plan.
type Settings struct {
	Bin      string            // directory of the programs
	Prefix   string            // of the run directory's name; "" = lab
	Seed     uint64            // of the keys
	Attach   string            // how eBPF programs are attached; "" = the agent's choice
	Backend  string            // of the agents; "" = software
	Slow     int               // as in Options
	Lifetime time.Duration     // of bindings; 0 = 10 min
	Policy   string            // lines added to the inventory's [policy]
	Grace    time.Duration     // after a deregistration; 0 = the default, 10 s
	Drain    time.Duration     // how long a redirect must be quiet; 0 = 500 ms
	Extra    map[string]string // lines added to a node's agent configuration
	Traffic  time.Duration     // how often agents report traffic; 0 = as they come
	Routers  map[string]string // lines added to the top of a router's configuration
	Underlay int               // family of the only locators: 4 signals over UDP 5436; 0 = both, signalling over protocol 135

	// NoRules: between two sites, spines and borders announce every host route into
	// the IGP, and all routers take them from it. A run that must fail.
	NoRules bool
	// Interior is what carries routes between two sites, one of InteriorNames; "" =
	// OSPF.
	Interior string

	plan   *topology.Plan                             // nil = the standard one
	fabric func(context.Context, *DataCentre) error   // what else runs, before the programs; nil = nothing
	roles  func(topology.Router) (top, tables string) // lines added to a router's configuration; nil = none
	sites  []inventorySite
	// observers run beside routers that are not told; nil = none.
	observers func() []observerPlace
	names     *NameService // nil = no DNS
}

// DataCentre is a lab with the programs running in it.
type DataCentre struct {
	Lab  *topology.Lab
	Mgmt *mgmtclient.Client

	set     Settings
	ca      *authority.Authority
	agents  map[string]dpmipv1connect.AgentServiceClient
	daemons map[string]*daemon
	ports   uint16 // given out by unusedPort
}

// servesWithin is what a program has from its start until it accepts calls.
const servesWithin = 15 * time.Second

// daemon is one program at one node, as it is started again after a kill.
type daemon struct {
	node, program, config, socket string // no socket: it serves nothing
	args                          []string
	process                       *netns.Process
	log                           *os.File
	patience                      time.Duration // until it serves
}

// Start brings up the standard data centre with every program serving.
func Start(ctx context.Context, s Settings) (*DataCentre, error) {
	if s.Lifetime == 0 {
		s.Lifetime = 10 * time.Minute
	}
	if s.Drain == 0 {
		s.Drain = 500 * time.Millisecond * time.Duration(max(s.Slow, 1))
	}
	lab, err := topology.Up(topology.Options{Prefix: s.Prefix, Plan: s.plan})
	if err != nil {
		return nil, err
	}
	d := &DataCentre{Lab: lab, set: s, agents: map[string]dpmipv1connect.AgentServiceClient{}, daemons: map[string]*daemon{}}
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(d.withLogs(err), d.Close())
	}
	return d, nil
}

// Close stops everything and removes it.
func (d *DataCentre) Close() error {
	if d.Mgmt != nil {
		d.Mgmt.Close()
	}
	for _, x := range d.daemons {
		x.log.Close()
	}
	return d.Lab.Close()
}

func (d *DataCentre) start(ctx context.Context) error {
	var err error
	if d.ca, err = authority.New("dpmip-lab"); err != nil {
		return err
	}
	if d.set.fabric != nil {
		if err := d.set.fabric(ctx, d); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{d.startMgmt, d.startRouters, d.startAgents, d.startObservers} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, x := range d.daemons {
		if err := x.serving(ctx); err != nil {
			return err
		}
	}
	if d.Mgmt, err = mgmtclient.Open(mgmtclient.Target{Address: d.daemons[topology.Mgmt].socket}); err != nil {
		return err
	}
	for _, h := range d.Lab.Plan.Hypervisors {
		c, err := mgmtclient.OpenAgent(mgmtclient.Target{Address: d.daemons[h.Name].socket})
		if err != nil {
			return err
		}
		d.agents[h.Name] = c
	}
	return nil
}

// locators are a hypervisor's: of the underlay, or both.
func (d *DataCentre) locators(l topology.Dual) []netip.Addr {
	if d.set.Underlay == 0 {
		return l.Both()
	}
	return []netip.Addr{l.Family(d.set.Underlay)}
}

// signalling is where a program that moves no VM is spoken to.
func (d *DataCentre) signalling(l topology.Dual) []netip.Addr {
	return []netip.Addr{l.Family(d.set.Underlay)}
}

// reportPort is where the management node takes reports, over mutual TLS.
const reportPort = 5437

func (d *DataCentre) reportsTo() netip.AddrPort {
	return netip.AddrPortFrom(d.signalling(d.Lab.Plan.Mgmt)[0], reportPort)
}

func (d *DataCentre) writeInventory() error {
	p := &d.Lab.Plan
	inv := inventoryConfig{VMs: p.VMs, Policy: d.set.Policy, Lifetime: d.set.Lifetime.String(), Drain: d.set.Drain.String(), Grace: d.set.Grace, Sites: d.set.sites, Services: d.set.names.services()}
	for i, h := range p.Hypervisors {
		inv.Hypervisors = append(inv.Hypervisors, inventoryHypervisor{&h, d.locators(h.Locator), keysFor(i, h.Name, d.set.Seed)})
	}
	for i, r := range p.Routers {
		inv.Routers = append(inv.Routers, inventoryRouter{Router: r, Locators: d.signalling(r.Locator), Keys: keysFor(100+i, r.Name, d.set.Seed)})
	}
	if d.set.observers != nil {
		inv.Observers = d.set.observers()
	}
	_, err := write(d.Lab.Node(topology.Mgmt).Dir, "inventory.toml", "inventory", inv)
	return err
}

func (d *DataCentre) startMgmt(context.Context) error {
	if err := d.writeInventory(); err != nil {
		return err
	}
	p, dir := &d.Lab.Plan, d.Lab.Node(topology.Mgmt).Dir
	files, err := d.ca.Issue(dir, "", authority.Subject{Name: topology.Mgmt, At: p.Mgmt.Both()})
	if err != nil {
		return err
	}
	path, err := write(dir, "mgmt.toml", "mgmt", mgmtConfig{Dir: dir, Locators: d.signalling(p.Mgmt), Listen: d.reportsTo(), TLS: files, Tables: d.set.names.tables()})
	if err != nil {
		return err
	}
	return d.launch(topology.Mgmt, "dpmip-mgmt", path, filepath.Join(dir, "mgmt.sock"))
}

func (d *DataCentre) startRouters(context.Context) error {
	for i, r := range d.Lab.Plan.Routers {
		dir := d.Lab.Node(r.Name).Dir
		var top, tables string
		if d.set.roles != nil {
			top, tables = d.set.roles(r)
		}
		top += d.set.Routers[r.Name]
		files, err := d.ca.Issue(dir, "", authority.Subject{Name: r.Name})
		if err != nil {
			return err
		}
		path, err := write(dir, "router.toml", "router", routerConfig{Name: r.Name, Report: "https://" + d.reportsTo().String(), TLS: files, Top: top, Tables: tables, Dir: dir, Locators: d.signalling(r.Locator), Mgmt: d.signalling(d.Lab.Plan.Mgmt)[0], Keys: keysFor(100+i, r.Name, d.set.Seed)})
		if err != nil {
			return err
		}
		if err := d.launch(r.Name, "dpmip-router", path, filepath.Join(dir, "router.sock")); err != nil {
			return err
		}
	}
	return nil
}

func (d *DataCentre) startAgents(context.Context) error {
	for i, h := range d.Lab.Plan.Hypervisors {
		dir := d.Lab.Node(h.Name).Dir
		bpf, err := d.Lab.MountBPF(h.Name)
		if err != nil {
			return err
		}
		files, err := d.ca.Issue(dir, "", authority.Subject{Name: h.Name})
		if err != nil {
			return err
		}
		attach := d.set.Attach
		if attach == "" {
			attach = "auto"
		}
		path, err := write(dir, "agent.toml", "agent", agentConfig{
			Name: h.Name, Dir: dir, Report: "https://" + d.reportsTo().String(), TLS: files, Backend: cmp.Or(d.set.Backend, "software"), Attach: attach, Fabric: topology.FabricPort,
			BPF: bpf, Region: filepath.Join(dir, "region"), Extra: d.set.Extra[h.Name], Drain: d.set.Drain.String(), Traffic: d.set.Traffic,
			Locators: d.locators(h.Locator), Ranges: h.Ranges(), Pools: h.Pool.Both(), Mgmt: d.signalling(d.Lab.Plan.Mgmt)[0], Keys: keysFor(i, h.Name, d.set.Seed)})
		if err != nil {
			return err
		}
		if err := d.launch(h.Name, "dpmip-agent", path, filepath.Join(dir, "agent.sock")); err != nil {
			return err
		}
	}
	return nil
}

func (d *DataCentre) launch(node, program, config, socket string) error {
	log, err := os.OpenFile(filepath.Join(d.Lab.Node(node).Dir, program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	x := &daemon{node: node, program: program, config: config, socket: socket, log: log, patience: servesWithin * time.Duration(max(d.set.Slow, 1))}
	d.daemons[node] = x
	return d.Restart(node)
}

// Restart starts the program of a node, which must not run.
func (d *DataCentre) Restart(node string) (err error) {
	x := d.daemons[node]
	bin, err := filepath.Abs(filepath.Join(d.set.Bin, x.program))
	if err != nil {
		return err
	}
	cmd := exec.Command(bin, append([]string{"--config", x.config}, x.args...)...)
	cmd.Stdout, cmd.Stderr = x.log, x.log
	if x.process, err = d.Lab.Node(x.node).NS.Start(cmd); err != nil || x.program != "dpmip-agent" {
		return err
	}
	return x.process.Renice(agentNice)
}

// agentNice is the priority that the packages' unit gives an agent.
const agentNice = -10

// Kill ends the program of a node by SIGKILL.
func (d *DataCentre) Kill(node string) error { return d.daemons[node].process.Kill() }

// Serving waits until the program of a node accepts calls.
func (d *DataCentre) Serving(ctx context.Context, node string) error {
	return d.daemons[node].serving(ctx)
}

// serving waits until the socket accepts.
func (x *daemon) serving(ctx context.Context) error {
	if x.socket == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("unix", x.socket)
		if err == nil {
			return c.Close()
		}
		select {
		case <-x.process.Done():
			return fmt.Errorf("scenario: %s at %s has ended: %v", x.program, x.node, x.process.Wait())
		case <-ctx.Done():
			return fmt.Errorf("scenario: %s at %s does not serve: %w", x.program, x.node, err)
		case <-tick.C:
		}
	}
}

// withLogs adds the last lines of every program's log to an error: the lab and
// its files are about to go.
func (d *DataCentre) withLogs(err error) error {
	if err == nil {
		return nil
	}
	var b strings.Builder
	for _, x := range d.daemons {
		text, rerr := os.ReadFile(x.log.Name())
		if rerr != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		for _, l := range lines[max(0, len(lines)-25):] {
			fmt.Fprintf(&b, "\n  %s %s: %s", x.node, x.program, l)
		}
	}
	return fmt.Errorf("%w; the last the programs said:%s", err, b.String())
}

// Agent is the control of a hypervisor's agent.
func (d *DataCentre) Agent(hv string) dpmipv1connect.AgentServiceClient { return d.agents[hv] }

// Attach puts a VM at its home: connected, registered.
func (d *DataCentre) Attach(ctx context.Context, vm string, families []int) error {
	v, ok := d.Lab.Plan.VM(vm)
	if !ok {
		return fmt.Errorf("scenario: no VM %q", vm)
	}
	if err := d.Lab.Switch.Connect(vm, v.Home); err != nil {
		return err
	}
	req := &v1.AttachVMRequest{Vm: v.ID, Port: vm, Mac: v.MAC.String(), WaitNs: int64(10 * time.Second)}
	for _, f := range families {
		req.Addresses = append(req.Addresses, v.Addr.Family(f).String())
	}
	if _, err := d.Agent(v.Home).AttachVM(ctx, connect.NewRequest(req)); err != nil {
		return fmt.Errorf("scenario: attach %s at %s: %w", vm, v.Home, err)
	}
	return nil
}
