package software

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Attach says how programs are attached to ports.
type Attach uint8

// Ways to attach. AttachAuto takes TCX where the kernel has it (6.6).
const (
	AttachAuto Attach = iota
	AttachTCX
	AttachClsBPF
)

var attachNames = [...]string{"auto", "tcx", "cls_bpf"}

func (a Attach) String() string {
	if int(a) < len(attachNames) {
		return attachNames[a]
	}
	return fmt.Sprintf("attach(%d)", uint8(a))
}

// Defaults of Config.
const (
	DefaultMaxRules   = 65536
	DefaultMaxFlows   = 262144
	DefaultMark       = 0x0d
	DefaultMetric     = 512
	DefaultAudit      = 10 * time.Second
	unreachableMetric = 1 << 30
)

// Config is what Open needs. Only BPFDir is mandatory; zero fields mean the
// defaults.
type Config struct {
	// NetNS is a file descriptor of the network namespace to work in; 0 or less
	// means the calling thread's. It stays the caller's to close.
	NetNS int
	// BPFDir is a directory for pins, one per node. A bpffs is mounted there
	// unless it lies on one, and is left mounted on Close.
	BPFDir string
	// Fabric names the ports towards the fabric.
	Fabric []string
	// Resolve gives the interface index of a port that configuration or a rule
	// names; ErrPortGone where there is none. nil = by the interface's name. It
	// must be safe for concurrent use.
	Resolve func(port string) (int32, error)
	Attach  Attach
	// Place is where cls_bpf filters sit; other than the default only with
	// AttachClsBPF.
	Place Place
	// MaxRules bounds redirects, deliveries, egresses, traps and, without a
	// Journal, kernel routes; also the number of groups. It is fixed by the
	// first Open of a BPFDir.
	MaxRules int
	// MaxFlows bounds the flows of all groups together; fixed likewise.
	MaxFlows int
	// Mark is the top byte of the packet marks that the device sets.
	Mark uint8
	// GatewayMAC is set on every VM port.
	GatewayMAC [6]byte
	// Hold bounds a group's hold where SetHoldLimit did not.
	Hold hwabstraction.HoldLimit
	// Journal keeps the stamps of kernel routes; nil keeps them beside the
	// rules in a pinned map.
	Journal Journal
	// Audit is how often everything that the device needs is looked for; what a
	// notice of the kernel tells is looked for at once. 0 = DefaultAudit.
	Audit time.Duration
	Log   *slog.Logger
}

// defaults fills in what is zero and reports what cannot work.
func (c Config) defaults() (Config, error) {
	if !filepath.IsAbs(c.BPFDir) {
		return c, fmt.Errorf("software: BPF directory %q is not absolute", c.BPFDir)
	}
	if c.Attach > AttachClsBPF {
		return c, errors.New("software: unknown way to attach")
	}
	if c.Attach != AttachClsBPF && c.Place != (Place{}) {
		return c, fmt.Errorf("software: programs attached by %s have no place among filters: attach by %s", c.Attach, AttachClsBPF)
	}
	setDefault(&c.Place.Priority, DefaultPriority)
	setDefault(&c.MaxRules, DefaultMaxRules)
	setDefault(&c.MaxFlows, DefaultMaxFlows)
	setDefault(&c.Audit, DefaultAudit)
	setDefault(&c.Mark, DefaultMark)
	setDefault(&c.GatewayMAC, hwabstraction.DefaultGatewayMAC)
	setDefault(&c.Hold.Packets, 4096)
	setDefault(&c.Hold.Bytes, 8<<20)
	setDefault(&c.Hold.Time, 10*time.Second)
	if c.MaxRules < 2 || c.MaxFlows < 1 {
		return c, errors.New("software: table sizes must be positive")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
