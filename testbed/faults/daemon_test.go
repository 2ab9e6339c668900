package faults

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/testbed/topology"
)

// program is a program's base name at a node: agent, mgmt or router.
func program(node string) string {
	switch node {
	case topology.Mgmt:
		return "mgmt"
	case topology.HVA, topology.HVB, topology.HVC:
		return "agent"
	}
	return "router"
}

func (w *world) config(node string) string { return filepath.Join(w.dir(node), program(node)+".toml") }
func (w *world) socket(node string) string { return filepath.Join(w.dir(node), program(node)+".sock") }

// kill ends a node's program by SIGKILL.
func (w *world) kill(nodes ...string) {
	w.t.Helper()
	for _, n := range nodes {
		w.must(w.dc.Kill(n))
	}
}

// start starts a node's program and waits until it serves.
func (w *world) start(nodes ...string) {
	w.t.Helper()
	for _, n := range nodes {
		os.Remove(w.socket(n)) // of the killed one: it must not be taken for the new one's
		w.must(w.dc.Restart(n))
	}
	for _, n := range nodes {
		w.must(w.dc.Serving(w.ctx, n))
	}
}

// restart kills and starts a node's program.
func (w *world) restart(nodes ...string) {
	w.t.Helper()
	w.kill(nodes...)
	w.start(nodes...)
}

// pid finds the node's program by its configuration file, which no other has.
func (w *world) pid(node string) int {
	w.t.Helper()
	want := []byte(w.config(node) + "\x00")
	found := 0
	w.eventually("process of "+node, func() string {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && bytes.HasSuffix(b, want) {
				found, _ = strconv.Atoi(strings.Split(f, "/")[2])
				return ""
			}
		}
		return "no process has " + w.config(node)
	})
	return found
}

// stun stops a node's program (SIGSTOP): it hears, and answers when it goes on.
func (w *world) stun(node string) (resume func()) {
	w.t.Helper()
	pid := w.pid(node)
	w.must(unix.Kill(pid, unix.SIGSTOP))
	done := false
	resume = func() {
		if !done {
			done = true
			_ = unix.Kill(pid, unix.SIGCONT)
		}
	}
	w.t.Cleanup(resume)
	return resume
}

// flushNeighbours forgets every neighbour that was learned, on every node: what
// "ip neigh flush all" does.
func (w *world) flushNeighbours() {
	w.t.Helper()
	nodes := []string{topology.CN, topology.Mgmt}
	for _, r := range w.dc.Lab.Plan.Routers {
		nodes = append(nodes, r.Name)
	}
	for _, h := range w.dc.Lab.Plan.Hypervisors {
		nodes = append(nodes, h.Name)
	}
	for _, v := range w.dc.Lab.Plan.VMs {
		nodes = append(nodes, v.Name)
	}
	for _, n := range nodes {
		h := w.dc.Lab.Node(n).NS.Netlink()
		list, err := h.NeighList(0, netlink.FAMILY_ALL)
		w.must(err)
		for _, x := range list {
			if x.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) == 0 {
				_ = h.NeighDel(&x) // it may have gone by itself
			}
		}
	}
}

// edit changes a node's file; every old must be there.
func (w *world) edit(path string, oldNew ...string) {
	w.t.Helper()
	b, err := os.ReadFile(path)
	w.must(err)
	text := string(b)
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			w.t.Fatalf("%s has no %q", path, oldNew[i])
		}
		text = strings.Replace(text, oldNew[i], oldNew[i+1], 1)
	}
	w.must(os.WriteFile(path, []byte(text), 0o600))
}

func (w *world) agent(node string) dpmipv1connect.AgentServiceClient {
	w.t.Helper()
	c, err := mgmtclient.OpenAgent(mgmtclient.Target{Address: w.socket(node)})
	w.must(err)
	return c
}

func (w *world) router(node string) dpmipv1connect.RouterServiceClient {
	w.t.Helper()
	c, err := mgmtclient.OpenRouter(mgmtclient.Target{Address: w.socket(node)})
	w.must(err)
	return c
}

func (w *world) mgmt() *mgmtclient.Client {
	w.t.Helper()
	c, err := mgmtclient.Open(mgmtclient.Target{Address: w.socket(topology.Mgmt)})
	w.must(err)
	w.t.Cleanup(func() { c.Close() })
	return c
}

// get reads a page of a program's admin socket.
func (w *world) get(node, path string) (int, string) {
	w.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", w.socket(node))
	}}}
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, "http://"+node+path, nil)
	w.must(err)
	res, err := client.Do(req)
	w.must(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	w.must(err)
	return res.StatusCode, string(b)
}

// metrics reads every metric of a node's program by its name with labels.
func (w *world) metrics(node string) map[string]float64 {
	w.t.Helper()
	status, text := w.get(node, "/metrics")
	if status != http.StatusOK {
		w.t.Fatalf("/metrics of %s: status %d", node, status)
	}
	out := map[string]float64{}
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		if i := strings.LastIndexByte(s.Text(), ' '); i > 0 && s.Text()[0] != '#' {
			if v, err := strconv.ParseFloat(s.Text()[i+1:], 64); err == nil {
				out[s.Text()[:i]] = v
			}
		}
	}
	return out
}

// restarts gives a wait for the moment when the management node has noticed
// that the node's program, which lives now, is another one.
func (w *world) restarts(node string) (noticed func()) {
	w.t.Helper()
	event := func(name string) float64 {
		return w.metrics(topology.Mgmt)[`dpmip_mgmt_peer_events_total{event="`+name+`",peer="`+node+`"}`]
	}
	w.eventually(node+" known to the management node", func() string {
		if event("up") == 0 {
			return "it has not come up there"
		}
		return ""
	})
	before := event("restarted")
	return func() {
		w.t.Helper()
		w.eventually("restart of "+node+" noticed", func() string {
			if event("restarted") == before {
				return "dpmip_mgmt_peer_events_total has not moved"
			}
			return ""
		})
	}
}
