package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dpmip/dpmip/testbed/capture"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

const megabyte = 1e6

// agentCosts measures the agent's file, and three agents that have nothing to
// do: their memory, messages and CPU time.
func agentCosts(ctx context.Context, o *Options) (out []Figure, err error) {
	file, err := os.Stat(o.Arm64)
	if err != nil {
		return nil, fmt.Errorf("bench: the agent for arm64 (make arm64 builds it): %w", err)
	}
	out = append(out, value("static arm64 program", "MB", float64(file.Size())/megabyte).atMost(16).note("%d bytes, stripped; 1 MB = 1 000 000 bytes", file.Size()))
	dc, err := scenario.Start(ctx, scenario.Settings{Bin: o.Bin, Seed: o.Seed})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dc.Close()) }()
	for _, v := range dc.Lab.Plan.VMs {
		if err := dc.Attach(ctx, v.Name, []int{6, 4}); err != nil {
			return nil, err
		}
	}
	idle, err := idling(ctx, dc, time.Duration(o.rounds(20))*time.Second)
	if err != nil {
		return nil, err
	}
	return append(out,
		idle.resident.figure("resident besides its region", "MB", 1).atMost(30).note("the greatest of three agents with VMs, after idling"),
		idle.heap.figure("of which its own, not of files or maps", "MB", 1),
		idle.sent.figure("messages sent a second, idle", "", 1).atMost(2).note("heartbeats: its own and answers; the greatest of three agents"),
		idle.cpu.figure("of a core, idle", "%", 1).atMost(0.5).note("the greatest of three agents")), nil
}

// idled is what agents cost that had nothing to do, a sample an agent.
type idled struct{ resident, heap, sent, cpu Samples }

func idling(ctx context.Context, dc *scenario.DataCentre, d time.Duration) (*idled, error) {
	dir, err := os.MkdirTemp(dc.Lab.Set.Dir(), "idle-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := pause(ctx, 3*time.Second); err != nil { // what follows the start
		return nil, err
	}
	pids, before := map[string]int{}, map[string]time.Duration{}
	captures := map[string]*capture.Capture{}
	for _, hv := range ring {
		if pids[hv], err = pidOf(filepath.Join(dc.Lab.Node(hv).Dir, "agent.toml")); err != nil {
			return nil, err
		}
		if captures[hv], err = capture.Start(dc.Lab.Node(hv).NS, topology.FabricPort, capture.Options{Dir: dir}); err != nil {
			return nil, err
		}
		if before[hv], err = cpuTime(pids[hv]); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	if err := pause(ctx, d); err != nil {
		return nil, err
	}
	took := time.Since(start)
	out := &idled{}
	for _, hv := range ring {
		used, err := cpuTime(pids[hv])
		if err != nil {
			return nil, err
		}
		if _, err := captures[hv].Stop(); err != nil {
			return nil, err
		}
		h, _ := dc.Lab.Plan.Hypervisor(hv)
		sent, err := sentBy(captures[hv], h.Locator.V6)
		if err != nil {
			return nil, err
		}
		m, err := residentOf(pids[hv], filepath.Join(dc.Lab.Node(hv).Dir, "region"))
		if err != nil {
			return nil, err
		}
		out.resident, out.heap = append(out.resident, m.all/megabyte), append(out.heap, m.private/megabyte)
		out.sent = append(out.sent, sent)
		out.cpu = append(out.cpu, 100*(used-before[hv]).Seconds()/took.Seconds())
	}
	return out, nil
}

// sentBy is the rate of a node's Mobility Headers on a link, to hundredths, from
// the first to the last: where the watching begins and ends does not count.
func sentBy(c *capture.Capture, self netip.Addr) (float64, error) {
	n, first, last := 0, time.Duration(0), time.Duration(0)
	err := c.Each(func(f capture.Frame) error {
		if f.Protocol == capture.ProtocolMobility && f.Src == self {
			if n++; n == 1 {
				first = f.At
			}
			last = f.At
		}
		return nil
	})
	if n < 2 {
		return 0, err
	}
	return math.Round(100*perSecond(n-1, last-first)) / 100, err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pidOf finds the process that was started with a configuration file.
func pidOf(config string) (int, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	for _, l := range lines {
		b, err := os.ReadFile(l)
		if err == nil && bytes.Contains(b, append([]byte(config), 0)) {
			return strconv.Atoi(filepath.Base(filepath.Dir(l)))
		}
	}
	return 0, fmt.Errorf("bench: no process with %s", config)
}

// cpuTime is what the threads of a process have used so far.
func cpuTime(pid int) (sum time.Duration, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("bench: process %d has no threads: %w", pid, err)
	}
	for _, t := range threads {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // it has ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(b), &ns); err != nil {
			return 0, fmt.Errorf("bench: %s: %w", t, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// resident is memory in bytes.
type resident struct {
	all     float64 // pages of any kind that are in memory, but those of the region
	private float64 // anonymous ones among them: heap, stacks, written data
}

// residentOf reads a process's memory map; pages of the region's file are left
// out.
func residentOf(pid int, region string) (m resident, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return m, fmt.Errorf("bench: %w", err)
	}
	skip := false
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"): // address range, ..., path
			skip = len(f) > 5 && f[5] == region
		case skip || len(f) != 3:
		case f[0] == "Rss:", f[0] == "Anonymous:":
			kb, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				return m, fmt.Errorf("bench: smaps: %w", err)
			}
			if f[0] == "Rss:" {
				m.all += kb * 1024
			} else {
				m.private += kb * 1024
			}
		}
	}
	return m, nil
}
