package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/agent/bul"
	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/hwabstraction/detect"
	"github.com/dpmip/dpmip/hwabstraction/nicmem"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/netns"
)

// What an agent finds at its start. A served VM has two addresses and four
// rules, a moved one a redirect; of the others a delivery address is in
// quarantine, which needs no rule.
const (
	startRecords = 100_000
	startServed  = 2000
	startMoved   = 2000
	startRules   = 4*startServed + startMoved
	startRegion  = 96 << 20
	startRoutes  = 4096
	startPort    = "vm0"
)

// starts kills an agent with many records and rules, and starts another.
func starts(ctx context.Context, o *Options) (out []Figure, err error) {
	set, err := netns.Open("", "bench")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	r, err := newStartRig(set, o)
	if err != nil {
		return nil, err
	}
	if _, err := r.start(ctx); err != nil { // it puts the rules that the others find
		return nil, err
	}
	var opened, ready, settled Samples
	for range o.rounds(5) {
		if err := r.agent.Kill(); err != nil {
			return nil, err
		}
		took, err := r.start(ctx)
		if err != nil {
			return nil, err
		}
		opened, ready = append(opened, took.opened.Seconds()), append(ready, took.ready.Seconds())
		settled = append(settled, took.settled.Seconds())
	}
	cost, err := r.idle(ctx)
	if err != nil {
		return nil, err
	}
	return append([]Figure{
		settled.median("start after a kill, until every rule is seen to be there", "s").atMost(3).note("%d bindings, %d rules adopted, software backend", startRecords, startRules),
		ready.median("of which until it serves", "s"),
		opened.median("of which until the device is open", "s"),
	}, cost...), nil
}

// idle measures the agent with all its records when it has nothing to do, over a
// time in which a resynchronisation falls.
func (r *startRig) idle(ctx context.Context) ([]Figure, error) {
	const over = 35 * time.Second
	if err := pause(ctx, 3*time.Second); err != nil { // what follows the start
		return nil, err
	}
	before, err := cpuTime(r.agent.PID())
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := pause(ctx, over); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := cpuTime(r.agent.PID())
	if err != nil {
		return nil, err
	}
	m, err := residentOf(r.agent.PID(), r.file("region"))
	if err != nil {
		return nil, err
	}
	return []Figure{
		value("resident besides its region, with all these bindings", "MB", m.all/megabyte).note("of which %.1f MB its own, not of files or maps", m.private/megabyte),
		value("of a core, idle with all these bindings", "%", 100*(after-before).Seconds()/took.Seconds()).note("a resynchronisation with every rule included"),
	}, nil
}

// startRig is a hypervisor's namespace and what its agent keeps.
type startRig struct {
	ns      *netns.NS
	dir     string
	program string
	agent   *netns.Process
}

func newStartRig(set *netns.Set, o *Options) (*startRig, error) {
	hv, err := space(set, "hv", true)
	if err != nil {
		return nil, err
	}
	beyond, err := space(set, "beyond", false)
	if err != nil {
		return nil, err
	}
	bpf, err := set.MountBPF("bpf")
	if err != nil {
		return nil, err
	}
	r := &startRig{ns: hv, dir: set.Dir(), program: filepath.Join(o.Bin, "dpmip-agent")}
	err = errors.Join(join(hv, "fab0", beyond, "far0"), join(hv, startPort, beyond, "far1"),
		hv.AddAddr("fab0", netip.MustParsePrefix("fd02::2/64"), netip.MustParsePrefix("10.0.2.2/24")), r.fill())
	if err != nil {
		return nil, err
	}
	return r, os.WriteFile(r.file("agent.toml"), fmt.Appendf(nil, `name = "hv"
state_dir = "%[1]s/state"
control_socket = "%[1]s/agent.sock"
locators = ["fd02::2", "10.0.2.2"]
ranges = ["fd77::/32"]
pools = ["fd88::/64"]
log_format = "json"
insecure_accept_unauthenticated = true

[[management]]
locator = "fd02::1"

[device]
backend = "software"
fabric = ["fab0"]
bpf_dir = "%[2]s"

[region]
path = "%[1]s/region"
size = %[3]d
routes = %[4]d
`, r.dir, bpf, startRegion, startRoutes), 0o600)
}

func (r *startRig) file(name string) string { return filepath.Join(r.dir, name) }

// fill writes the records into the region, as an agent does.
func (r *startRig) fill() error {
	region, err := nicmem.Open(nicmem.Config{
		Path: r.file("region"), Size: startRegion,
		Areas: []nicmem.AreaSpec{{Name: "journal", Size: detect.JournalSize(startRoutes)}, {Name: "bul"}},
	})
	if err != nil {
		return err
	}
	defer region.Close()
	area, err := region.Area("bul")
	if err != nil {
		return err
	}
	list, err := bul.Format(area.Bytes())
	if err != nil {
		return err
	}
	until := time.Now().Add(time.Hour)
	for i := range startRecords {
		rec := recorded(i, until)
		e, err := rec.ToEntry()
		if err == nil {
			err = list.Put(&e)
		}
		if err != nil {
			return fmt.Errorf("bench: record %d: %w", i, err)
		}
	}
	return nil
}

// recorded is the i-th VM's record.
func recorded(i int, until time.Time) agent.Record {
	v6 := numbered(i)
	b := v6.As16()
	r := agent.Record{
		VM: mobility.NAI(fmt.Sprintf("vm-%07d@dc1.example", i)), MAC: mobility.MAC{2, 0, 0, b[13], b[14], b[15]}, Epoch: 3,
	}
	d := mobility.Delivery{Old: v6, D: netip.AddrFrom16([16]byte{0xfd, 0x88, 13: b[13], 14: b[14], 15: b[15]})}
	switch {
	case i < startServed:
		r.Serving = &agent.Serving{
			Group: agent.Group{Epoch: 3, Port: startPort, Slots: []netip.Addr{v6, netip.AddrFrom4([4]byte{10, b[13], b[14], b[15]})}}, Registered: true,
			Lifetime: 900, Expires: until,
		}
	case i < startServed+startMoved:
		r.Leaving = &agent.Leaving{
			Stamp: 3, Epoch: 3, Pairs: []mobility.Pair{{Old: d.Old, New: d.D}}, Locator: netip.MustParseAddr("fd02::99"),
			Ready: true, Armed: true, Done: true, Expires: until,
		}
	default:
		r.Spent = []agent.Spent{{Delivery: d, State: agent.SpentQuarantine, Epoch: 3, Port: startPort, Until: until}}
	}
	return r
}

// started is how long a start took.
type started struct{ opened, ready, settled time.Duration }

// start starts an agent and waits until it serves, and until it has looked for
// every rule in the device.
func (r *startRig) start(ctx context.Context) (took started, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	log, w, err := os.Pipe()
	if err != nil {
		return took, fmt.Errorf("bench: %w", err)
	}
	cmd := exec.Command(r.program, "--config", r.file("agent.toml"))
	cmd.Stderr = w
	begin := time.Now()
	r.agent, err = r.ns.Start(cmd)
	w.Close()
	if err != nil {
		log.Close()
		return took, err
	}
	opened, err := awaitReady(log)
	if err != nil {
		return took, err
	}
	took.opened, took.ready = opened.Sub(begin), time.Since(begin)
	if err := r.healthy(ctx); err != nil {
		return took, err
	}
	took.settled = time.Since(begin)
	return took, r.awaitAll(ctx)
}

// awaitReady reads an agent's log until it serves, tells when the hardware was
// opened, and leaves the rest to be
// read by a goroutine that ends with the agent.
func awaitReady(log *os.File) (opened time.Time, err error) {
	lines := bufio.NewScanner(log)
	var last string
	for lines.Scan() {
		last = lines.Text()
		switch {
		case strings.Contains(last, `"msg":"hardware opened"`):
			opened = time.Now()
		case strings.Contains(last, `"msg":"ready"`):
			go func() { io.Copy(io.Discard, log); log.Close() }()
			return opened, nil
		}
	}
	log.Close()
	return opened, fmt.Errorf("bench: the agent did not start: %s", last)
}

// healthy waits for the device's worker: it answers when everything of the start
// is done, and with an error where a rule is not as it should be.
func (r *startRig) healthy(ctx context.Context) error {
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", r.file("agent.sock"))
	}}}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/healthz", nil)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("bench: the agent is not well: %s", body)
	}
	return nil
}

// awaitAll waits until every rule acts: after the first start, groups are
// switched on when their rules are there.
func (r *startRig) awaitAll(ctx context.Context) error {
	c, err := mgmtclient.OpenAgent(mgmtclient.Target{Address: r.file("agent.sock")})
	if err != nil {
		return err
	}
	for {
		got, err := c.ListRules(ctx, connect.NewRequest(&v1.ListRulesRequest{}))
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		acting := 0
		for _, rule := range got.Msg.Rules {
			if rule.On && rule.Error == "" && rule.Kind != "unreachable" {
				acting++
			}
		}
		if acting == startRules {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("bench: %d of %d rules act, of %d there: %w", acting, startRules, len(got.Msg.Rules), err)
		}
	}
}
