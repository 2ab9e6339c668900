package scenario

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dpmip/dpmip/testbed/result"
)

// vmPackets is the agents' metric of packets by path.
const vmPackets = "dpmip_agent_vm_packets_total{"

// readPaths asks the agents how many packets of VMs went by filters and how many
// past them. Without filters there is nothing to ask for.
func (r *run) readPaths(ctx context.Context) error {
	if r.dc.set.Backend != "switchdev" {
		return nil
	}
	sum := &result.Paths{}
	for _, h := range r.dc.Lab.Plan.Hypervisors {
		lines, err := metricsOf(ctx, filepath.Join(r.dc.Lab.Node(h.Name).Dir, "agent.sock"))
		if err != nil {
			return fmt.Errorf("scenario: metrics of %s: %w", h.Name, err)
		}
		fast, slow := pathsIn(lines)
		sum.Fast, sum.Slow = sum.Fast+fast, sum.Slow+slow
	}
	r.paths = sum
	if sum.Fast < sum.Slow {
		r.problems = append(r.problems, fmt.Sprintf("filters took %d packets, %d went past them", sum.Fast, sum.Slow))
	}
	return nil
}

// pathsIn sums up the packets of all VMs.
func pathsIn(lines []string) (fast, slow uint64) {
	for _, l := range lines {
		labels, value, ok := strings.Cut(l, "} ")
		if !ok || !strings.HasPrefix(l, vmPackets) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case strings.Contains(labels, `path="fast"`):
			fast += uint64(n)
		default:
			slow += uint64(n)
		}
	}
	return fast, slow
}

// metricsOf reads what a daemon publishes on its socket.
func metricsOf(ctx context.Context, socket string) (lines []string, err error) {
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	return lines, in.Err()
}
