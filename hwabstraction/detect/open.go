package detect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/vishvananda/netlink"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/flows"
	"github.com/dpmip/dpmip/hwabstraction/software"
	"github.com/dpmip/dpmip/hwabstraction/switchdev"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// Config says what Open builds. Zero fields mean the defaults of the parts.
type Config struct {
	Backend string // Auto, Software, Switchdev; "" = Auto
	Attach  string // AttachAuto, AttachTCX, AttachClsBPF; "" = AttachAuto
	NetNS   int    // descriptor of the network namespace; 0 or less = the process's own
	BPFDir  string // for pins, one a node; mandatory
	// Fabric names the ports towards the fabric, as ports of rules are named: by
	// what stands behind them ("p0", "pf0vf3"), else by the interface's name.
	Fabric []string
	SkipHW bool // filters of the switchdev backend stay in the kernel
	// MaxRules and MaxFlows are fixed by the first Open of a BPFDir.
	MaxRules   int
	MaxFlows   int
	GatewayMAC [6]byte
	Hold       hwabstraction.HoldLimit
	Region     RegionConfig
	// Memory is that region where the caller has opened it, who then closes it
	// after the Hardware; nil = Open does both.
	Memory *Memory
	Log    *slog.Logger // nil = silent
}

// Probes says where to look for what Open would find.
func (c Config) Probes() ProbeConfig {
	return ProbeConfig{NetNS: c.NetNS, BPFDir: c.BPFDir, Region: c.Region.Path, Fabric: c.Fabric, SkipHW: c.SkipHW}
}

func (c Config) want() Want {
	return Want{Backend: c.Backend, Attach: c.Attach, Fabric: c.Fabric, SkipHW: c.SkipHW}
}

// Hardware is what Open has built. The caller closes it.
type Hardware struct {
	Device      hwabstraction.Device
	Region      hwabstraction.Region // nil where none was configured
	Flows       hwabstraction.FlowSource
	Environment Environment // without what NoTypes leaves out
	Choice      Choice
	Reason      string // why this backend

	memory *Memory // nil where none was configured
	own    *Memory // which Close closes
	source *flows.Source
	names  *Resolver
	table  *tc.Conn
	kernel *ways.Kernel
	modes  *netlink.Handle // asks for the modes of e-switches; nil = nobody does
}

// Area returns a named area of the region; its Close does nothing.
func (h *Hardware) Area(name string) (hwabstraction.Region, error) {
	if h.memory == nil {
		return nil, fmt.Errorf("detect: area %q: no region is configured", name)
	}
	return h.memory.Area(name)
}

// Close lets go of device and region, in this order. Every rule goes on acting.
func (h *Hardware) Close() error {
	var errs []error
	if h.source != nil {
		errs = append(errs, h.source.Close())
	}
	if h.Device != nil {
		errs = append(errs, h.Device.Close())
	}
	if h.kernel != nil {
		errs = append(errs, h.kernel.Close())
	}
	if h.modes != nil {
		h.modes.Close()
	}
	if h.table != nil {
		errs = append(errs, h.table.Close())
	}
	if h.names != nil {
		errs = append(errs, h.names.Close())
	}
	if h.own != nil {
		errs = append(errs, h.own.Close())
	}
	return errors.Join(errs...)
}

// Open probes the machine, chooses a backend and builds what the configuration
// asks for. It adopts what an earlier process has left and touches no
// forwarding. It takes some hundred milliseconds the first time.
func Open(ctx context.Context, c Config) (*Hardware, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	probes := c.Probes()
	probes.NoTypes = true
	h := &Hardware{Environment: Probe(probes)}
	if err := h.Environment.owned(); err != nil {
		return nil, err
	}
	var err error
	if h.Choice, err = Choose(h.Environment, c.want()); err != nil {
		return nil, err
	}
	if err := h.open(ctx, c); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.Reason = h.Choice.Reason()
	c.Log.Info("hardware opened", "backend", h.Choice.Backend, "attach", h.Choice.Attach, "reason", h.Reason)
	return h, nil
}

func (h *Hardware) open(ctx context.Context, c Config) error {
	if err := h.openMemory(c); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	journal, err := h.journal(c)
	if err != nil {
		return err
	}
	if h.names, err = NewResolver(c.NetNS, c.Fabric); err != nil {
		return err
	}
	device, err := h.openSoftware(c, journal)
	if err != nil {
		return err
	}
	h.Device = device
	if h.Choice.Backend == Switchdev {
		if err := h.openFast(c); err != nil {
			return err
		}
	}
	if err := h.withdraw(ctx, c); err != nil {
		return err
	}
	source, err := flows.Open(flows.Config{NetNS: c.NetNS, Zone: device.Zone})
	if err != nil {
		c.Log.Warn("flows cannot be read: new connections cannot be told from old ones", "err", err)
		h.Flows = noFlows{}
		return nil
	}
	h.Flows, h.source = source, source
	return nil
}

func (h *Hardware) openMemory(c Config) (err error) {
	switch {
	case c.Memory != nil:
		h.memory = c.Memory
	case c.Region.Path == "":
		return nil
	default:
		if h.own, err = OpenRegion(c.Region); err != nil {
			return err
		}
		h.memory = h.own
	}
	h.Region = h.memory.region
	return nil
}

// openSoftware opens the software backend: by itself, or as the slow path behind
// the switchdev backend.
func (h *Hardware) openSoftware(c Config, journal software.Journal) (*software.Device, error) {
	ways := map[string]software.Attach{AttachAuto: software.AttachAuto, AttachTCX: software.AttachTCX, AttachClsBPF: software.AttachClsBPF}
	var place software.Place
	if h.Choice.Backend == Switchdev {
		place = software.Place{Priority: switchdev.SlowPriority, Chain: switchdev.SlowChain}
	}
	d, err := software.Open(software.Config{
		NetNS: c.NetNS, BPFDir: c.BPFDir, Fabric: c.Fabric, Resolve: h.names.Index, Attach: ways[h.Choice.Attach], Place: place,
		MaxRules: c.MaxRules, MaxFlows: c.MaxFlows, GatewayMAC: c.GatewayMAC, Hold: c.Hold,
		Journal: journal, Log: c.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	return d, nil
}

// Doctor probes the machine and tells what stands in the way.
func Doctor(c ProbeConfig) []Check { return Diagnose(Probe(c)) }

// Examine probes the machine and tells which backend Open would choose here and
// why, or why it would refuse, and what stands in the way. It opens nothing.
func Examine(c Config) []Check {
	e := Probe(c.Probes())
	return append([]Check{e.outcome(c.want())}, Diagnose(e)...)
}

// outcome is what a start would come to.
func (e Environment) outcome(w Want) Check {
	check := Check{Name: "backend", State: StateBad, Advice: "see the checks below, device.backend and device.attach"}
	if err := e.owned(); err != nil { // it says what to do
		check.Found, check.Advice = err.Error(), "see fabric port"
		return check
	}
	choice, err := Choose(e, w)
	if err != nil {
		check.Found = err.Error()
		return check
	}
	return Check{Name: "backend", State: StateGood, Found: choice.Backend + ": " + choice.Reason()}
}
