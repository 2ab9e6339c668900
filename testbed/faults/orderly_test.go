package faults

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// TestAbort: a move is aborted at each of its phases. Until the COMMIT it ends
// as if it had not been; after it, it is refused.
func TestAbort(t *testing.T) {
	family(t, scenario.Settings{}, nil, []testCase{
		{"prepared", func(w *world) {
			abortCase(w, func(m *move) { m.prepare() })
		}},
		{"prepare unanswered by the source", func(w *world) {
			abortCase(w, func(m *move) {
				answer := w.stun(m.from)
				_, err := m.ask(0)
				w.must(err)
				m.state("preparing")
				w.t.Cleanup(answer)
				w.must(m.abort(0))
				answer()
			})
		}},
		{"released", func(w *world) {
			abortCase(w, func(m *move) { m.prepare(); m.release() })
		}},
		{"switched, and taken back", func(w *world) {
			abortCase(w, func(m *move) {
				m.prepare()
				m.release()
				m.carry()
				w.pass(pause)
				m.leave()
				w.must(w.dc.Lab.Switch.Connect(mover, m.from))
				w.at = m.from
			})
		}},
		{"activated, COMMIT unanswered", abortActivated},
		{"committed", abortCommitted},
	})
}

// abort asks for it and waits so long for the end.
func (m *move) abort(wait time.Duration) error {
	_, err := m.w.mgmt().AbortMove(m.w.ctx, connect.NewRequest(&v1.AbortMoveRequest{Vm: m.id, Epoch: m.epoch, WaitNs: int64(wait)}))
	return err
}

// abortCase brings a move to a phase and aborts it: the VM is at the source
// again, nothing of the move is left, and it can move another time.
func abortCase(w *world, to func(*move)) {
	w.t.Helper()
	m := w.plan()
	f := w.talk()
	f.patient = true
	from, dest := w.rules(m.from), w.rules(m.to)
	to(m)
	// What the destination gives back arrives after what the source, disarmed
	// before, gets directly: in the order of an abort that cannot be otherwise.
	f.overtaken = true
	if err := m.abort(10 * time.Second); err != nil && connect.CodeOf(err) != connect.CodeFailedPrecondition {
		w.t.Fatalf("abort: %v", err)
	}
	m.state("aborted")
	f.more("aborted")
	w.sameRules(m.from, from)
	if b := w.binding(m.id); b.Hypervisor != m.from || b.Epoch == m.epoch {
		w.t.Errorf("the aborted move to %s left the binding %v", m.to, b)
	}
	w.eventually("rules of the aborted move at "+m.to+" gone", func() string {
		for _, r := range w.rules(m.to) {
			if !slices.Contains(dest, r) {
				return r
			}
		}
		return ""
	})
	w.plan().prepare().finish()
	f.more("the next move")
	f.whole()
}

// abortActivated: the destination has activated, so the COMMIT decides.
func abortActivated(w *world) {
	m := w.plan()
	f := w.talk()
	f.patient = true
	m.prepare()
	m.release()
	m.carry()
	// The COMMIT must not arrive before the abort is asked for: the management
	// node is dead when it is sent.
	w.kill(topology.Mgmt)
	m.activate(0)
	answer := w.stun(m.to)
	w.start(topology.Mgmt)
	w.must(m.abort(0))
	answer()
	m.confirmed()
	m.state("committed", "draining", "done")
	f.more("the COMMIT has decided")
	f.whole()
}

func abortCommitted(w *world) {
	m := w.plan()
	f := w.talk()
	m.prepare().finish()
	if err := m.abort(0); connect.CodeOf(err) != connect.CodePermissionDenied && connect.CodeOf(err) != connect.CodeFailedPrecondition {
		w.t.Errorf("abort after the COMMIT: %v, want a refusal", err)
	}
	f.more("the abort was refused")
	m.confirmed()
	f.whole()
}

// TestColdMove: nothing is redirected; when the routers have confirmed, the VM
// is reached at B.
func TestColdMove(t *testing.T) {
	alone(t, scenario.Settings{}, nil, func(w *world) {
		m := w.routed()
		m.mode = "cold"
		m.prepare()
		m.leave()
		m.arrive()
		m.activate(10 * time.Second)
		m.confirmed()
		w.routesTo(m.to)
		f := w.talk(topology.CN, "vm3", "vm4")
		for _, r := range w.rules(m.from) {
			if strings.Contains(r, w.vm(mover).Addr.V6.String()) || strings.HasPrefix(r, "redirect") {
				t.Errorf("a cold move left %q at the source", r)
			}
		}
		f.whole()
	})
}

// TestDetach: the VM ends; nothing of it is left, and it may begin again.
func TestDetach(t *testing.T) {
	alone(t, scenario.Settings{}, nil, func(w *world) {
		v := w.vm(mover)
		f := w.talk()
		f.whole()
		_, err := w.agent(w.at).DetachVM(w.ctx, connect.NewRequest(&v1.DetachVMRequest{Vm: v.ID, WaitNs: int64(10 * time.Second)}))
		w.must(err)
		for _, r := range w.rules(w.at) {
			if strings.Contains(r, v.Addr.V6.String()+" ") || strings.Contains(r, v.Addr.V4.String()+" ") {
				t.Errorf("left after the detach: %s", r)
			}
		}
		w.must(w.dc.Attach(w.ctx, mover, families))
		w.talk().whole()
	})
}

// TestEveryProgramTellsHowItIs: health and metrics on each one's own socket.
func TestEveryProgramTellsHowItIs(t *testing.T) {
	alone(t, scenario.Settings{}, nil, func(w *world) {
		for _, node := range append([]string{topology.Mgmt, topology.HVA, topology.HVB, topology.HVC}, routers...) {
			if status, said := w.get(node, "/healthz"); status != http.StatusOK {
				t.Errorf("/healthz of %s: %d %s", node, status, said)
			}
			name := fmt.Sprintf(`dpmip_%s_transport_total{event="drop_peer_unknown"}`, program(node))
			if v, ok := w.metrics(node)[name]; !ok || v != 0 {
				t.Errorf("%s at %s is %v (there: %v), want 0", name, node, v, ok)
			}
		}
	})
}

// TestTwoAgents: a second agent on the first one's state, locator or region is
// refused, is told why, and changes nothing.
func TestTwoAgents(t *testing.T) {
	const state, socket = `/state"`, `agent.sock"`
	family(t, scenario.Settings{}, nil, []testCase{
		{"one state directory", func(w *world) { second(w, "held by another process") }},
		{"one locator", func(w *world) {
			second(w, "another process serves this locator", state, `/second"`, socket, `second.sock"`)
		}},
		{"one locator, IPv6 only", func(w *world) {
			second(w, "2001:db8:a::1: another process serves this locator", state, `/second"`, socket, `second.sock"`, `"2001:db8:a::1", "10.1.0.1"`, `"2001:db8:a::1"`)
		}},
		{"one locator, IPv4 only", func(w *world) {
			second(w, "10.1.0.1: another process serves this locator", state, `/second"`, socket, `second.sock"`, `"2001:db8:a::1", "10.1.0.1"`, `"10.1.0.1"`)
		}},
		{"one region", func(w *world) {
			ns := w.dc.Lab.Node(topology.HVA).NS
			others := []netip.Prefix{netip.MustParsePrefix("2001:db8:a::2/64"), netip.MustParsePrefix("10.1.0.2/24")}
			w.must(ns.AddAddr(topology.FabricPort, others...))
			second(w, "in use by process", state, `/second"`, socket, `second.sock"`, `"2001:db8:a::1", "10.1.0.1"`, `"2001:db8:a::2", "10.1.0.2"`)
			for _, p := range others {
				w.must(ns.DelAddr(topology.FabricPort, p))
			}
		}},
	})
}

// second starts another agent at hvA, with the changes to the first one's
// configuration, and wants it to say why it ends.
func second(w *world, want string, changes ...string) {
	w.t.Helper()
	hv := topology.HVA
	f := w.talk()
	before := w.rules(hv)
	text, err := os.ReadFile(w.config(hv))
	w.must(err)
	path := filepath.Join(w.dir(hv), "second.toml")
	w.must(os.WriteFile(path, text, 0o600))
	w.edit(path, changes...)
	if out, err := w.refused(hv, "dpmip-agent", path); err == nil || !strings.Contains(out, want) {
		w.t.Errorf("a second agent: %v, it said %q; want an error that says %q", err, out, want)
	}
	w.sameRules(hv, before)
	f.more("the second agent was refused")
	f.whole()
}

// refused runs a program that must end by itself, and gives what it said.
func (w *world) refused(node, program, config string) (string, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	var said strings.Builder
	cmd := exec.Command(filepath.Join(*binDir, program), "--config", config)
	cmd.Stdout, cmd.Stderr = &said, &said
	p, err := w.dc.Lab.Node(node).NS.Start(cmd)
	w.must(err)
	select {
	case <-p.Done():
	case <-ctx.Done():
		w.must(p.Kill())
		w.t.Errorf("%s --config %s at %s goes on running", program, config, node)
	}
	return said.String(), p.Wait()
}
