package mgmt

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

var errFull = errors.New("disk full")

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata print")

// TestScripts runs testdata/*.txt. A line "> command" is carried out, the lines
// after it are what it prints. "#" begins a comment. A line "! key = value"
// before the first command is added to the inventory's policy.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(strings.Split(string(text), "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
		})
	}
}

// script is a parsed script: its policy lines and its commands.
type script struct {
	policy string
	lines  []string // commands with "> ", comments, blank lines
}

func parseScript(text string) script {
	var s script
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "! "); ok {
			s.policy += rest + "\n"
		}
		if line == "" || strings.ContainsAny(line[:1], ">#!") {
			s.lines = append(s.lines, line)
		}
	}
	return s
}

func runScript(t *testing.T, text string) string {
	s := parseScript(text)
	w := newWorld(t, testInventory+s.policy)
	w.wait(2 * time.Second) // everybody has heard of everybody
	var out strings.Builder
	for _, line := range s.lines {
		fmt.Fprintln(&out, line)
		if cmd, ok := strings.CutPrefix(line, "> "); ok {
			w.log = nil
			w.exec(strings.Fields(cmd))
			for _, l := range w.log {
				fmt.Fprintln(&out, l)
			}
		}
	}
	return out.String()
}

// exec carries out one command of a script.
func (w *world) exec(f []string) {
	w.t.Helper()
	do, ok := verbs[f[0]]
	if !ok {
		w.t.Fatalf("no command %q", f[0])
	}
	do(w, f[1:])
	w.settle()
}

var verbs map[string]func(*world, []string)

func init() {
	verbs = map[string]func(*world, []string){
		"register":   func(w *world, a []string) { w.register(a, mobility.HandoffNew, mobility.MoveOptions{}) },
		"refresh":    func(w *world, a []string) { w.register(a, mobility.HandoffUnchanged, mobility.MoveOptions{}) },
		"plain":      func(w *world, a []string) { w.register(a, mobility.HandoffMove, mobility.MoveOptions{}) },
		"deregister": (*world).deregister,
		"activate":   (*world).activate,
		"drain":      (*world).drain,
		"prepare":    (*world).prepareCommand,
		"lost":       (*world).lost,
		"abort":      (*world).abortCommand,
		"phases":     (*world).phases,
		"evacuate":   (*world).evacuateCommand,
		"retire":     (*world).retireCommand,
		"wait":       func(w *world, a []string) { d, _ := time.ParseDuration(a[0]); w.wait(d) },
		"down":       func(w *world, a []string) { w.hosts[a[0]].down = true },
		"up":         func(w *world, a []string) { w.hosts[a[0]].down = false },
		"restart":    func(w *world, a []string) { w.hosts[a[0]].start() },
		"crash":      func(w *world, _ []string) { w.crash(); w.boot() },
		"refuse":     func(w *world, a []string) { n, _ := strconv.Atoi(a[2]); w.hosts[a[0]].refuse[a[1]] = n },
		"agree":      func(w *world, a []string) { delete(w.hosts[a[0]].refuse, a[1]) },
		"store":      func(w *world, a []string) { w.store.FailWith(map[string]error{"full": errFull}[a[0]]) },
		"binding":    func(w *world, a []string) { w.printBinding(mobility.NAI(a[0])) },
		"move":       func(w *world, a []string) { w.sayMove(w.core.Move(mobility.NAI(a[0]), 0)) },
		"backup":     func(w *world, _ []string) { w.backup = w.store.Clone() },
		"restore":    func(w *world, _ []string) { w.crash(); w.store = w.backup.Clone(); w.boot() },
		"inventory":  (*world).inventoryCommand,
		"prover":     (*world).prover,
		"block":      func(w *world, a []string) { w.probing.blocked[a[0]] = true },
		"mute":       (*world).mute,
		"unblock":    (*world).unblock,
		"proofs":     (*world).proofs,
		"tasks":      (*world).tasks,
		"lingering":  (*world).lingering,
		"limit":      (*world).limit,
		"traffic":    (*world).traffic,
	}
}

// limit sets how many routes a router takes, and lets it say so unless "silent".
func (w *world) limit(f []string) {
	n, _ := strconv.Atoi(f[1])
	w.hosts[f[0]].limit = n
	if len(f) == 2 {
		w.step(RouterLimit{Router: f[0], Limit: n})
	}
}

// traffic reports packets per second at a hypervisor: "b vm1=100 vm2=5".
func (w *world) traffic(f []string) {
	_, _, _, rates := args(f[1:])
	e := Traffic{Hypervisor: f[0]}
	for _, name := range sortedKeys(rates) {
		n, _ := strconv.Atoi(rates[name])
		for _, a := range w.core.Binding(mobility.NAI(name)).Slots {
			e.Samples = append(e.Samples, TrafficSample{VM: mobility.NAI(name), Addr: a, Packets: uint64(n), Over: time.Second})
		}
	}
	w.step(e)
}

// args splits "vm host addr... key=value...".
func args(f []string) (vm mobility.VMID, host string, addrs []netip.Addr, keys map[string]string) {
	keys = map[string]string{}
	for i, s := range f {
		key, value, isKey := strings.Cut(s, "=")
		a, err := netip.ParseAddr(s)
		switch {
		case isKey:
			keys[key] = value
		case i == 0:
			vm = mobility.NAI(s)
		case err == nil:
			addrs = append(addrs, a)
		default:
			host = s
		}
	}
	return vm, host, addrs, keys
}

func (w *world) request(v *fakeVM, addrs []netip.Addr, keys map[string]string, r registration.Request) registration.Request {
	r.Slots, r.MAC = addrs, mobility.MAC{2, 0, 0, 0, 0, 1}
	if len(addrs) == 0 {
		r.Slots = v.slots
	}
	if s, ok := keys["epoch"]; ok {
		n, _ := strconv.Atoi(s)
		r.Epoch = mobility.Epoch(n)
	}
	if keys["ticket"] == "forged" {
		r.Ticket = mobility.Ticket{1, 2, 3}
	}
	return r
}

func (w *world) register(f []string, hi mobility.HandoffIndicator, o mobility.MoveOptions) {
	vm, name, addrs, keys := args(f)
	h := w.hosts[name]
	v := h.vm(vm)
	if len(addrs) > 0 {
		v.slots = addrs
	}
	r := w.request(v, addrs, keys, registration.Request{VM: vm, Handoff: hi, Lifetime: mobility.LifetimeOf(time.Minute), Epoch: v.serving, Move: o})
	if hi != mobility.HandoffUnchanged && keys["epoch"] == "" {
		r.Epoch = 0
	}
	h.submit("asked ("+hi.String()+")", r)
}

func (w *world) deregister(f []string) {
	vm, name, addrs, keys := args(f)
	v := w.hosts[name].vm(vm)
	w.hosts[name].submit("asked (remove)", w.request(v, addrs, keys, registration.Request{VM: vm, Handoff: mobility.HandoffUnknown, Epoch: v.serving}))
}

func (w *world) drain(f []string) {
	vm, name, addrs, keys := args(f)
	v := w.hosts[name].vm(vm)
	w.hosts[name].submit("asked (drain)", w.request(v, addrs, keys, registration.Request{VM: vm, Handoff: mobility.HandoffUnknown, Epoch: v.epoch}))
}

// activate is the COMMIT of a prepared host: the given slots, or the kept ones.
func (w *world) activate(f []string) {
	vm, name, addrs, keys := args(f)
	h := w.hosts[name]
	v := h.vm(vm)
	v.active = true
	if len(addrs) > 0 {
		v.slots = addrs
	}
	r := w.request(v, nil, keys, registration.Request{VM: vm, Handoff: mobility.HandoffMove, Lifetime: mobility.LifetimeOf(time.Minute),
		Epoch: v.epoch, Ticket: v.ticket, Move: v.options.WithPhase(mobility.PhaseCommit), Deliveries: v.deliveries})
	if keys["ticket"] == "none" {
		r.Ticket = mobility.Ticket{}
	}
	h.submit("asked (commit)", r)
}

func (w *world) prepareCommand(f []string) {
	vm, name, _, keys := args(f)
	o := optionsFrom(w.t, keys)
	w.printMove(w.command(func(id CommandID) Event { return Prepare{ID: id, VM: vm, To: name, Options: o} }))
}

func (w *world) lost(f []string) {
	vm, name, _, keys := args(f)
	w.printMove(w.command(func(id CommandID) Event { return SourceLost{ID: id, VM: vm, To: name, FencedBy: keys["by"]} }))
}

func (w *world) abortCommand(f []string) {
	vm, _, _, keys := args(f)
	w.printMove(w.command(func(id CommandID) Event { return Abort{ID: id, VM: vm, DestinationFencedBy: keys["fenced"]} }))
}

// phases lists the newest move's.
func (w *world) phases(f []string) {
	for _, p := range w.core.Move(mobility.NAI(f[0]), 0).Phases {
		w.say("%s", strings.TrimSpace(p.Name+" "+p.Detail))
	}
}

func (w *world) evacuateCommand(f []string) {
	d := w.command(func(id CommandID) Event { return Evacuate{ID: id, Hypervisor: f[0], To: f[1:]} })
	for _, m := range d.Moves {
		w.say("%s: %s -> %s", m.VM, m.From, m.To)
	}
	for _, p := range d.Problems {
		w.say("problem: %s", p)
	}
}

func (w *world) retireCommand(f []string) {
	d := w.command(func(id CommandID) Event { return Retire{ID: id, Hypervisor: f[0], DryRun: len(f) > 1} })
	w.say("retired: %v", d.Retired)
	for _, s := range d.Depends {
		w.say("depends: %s", s)
	}
}

// inventoryCommand takes hypervisors or routers out of the inventory.
func (w *world) inventoryCommand(f []string) {
	var keep []string
	for _, block := range strings.Split(testInventory, "[[")[1:] {
		if !slices.ContainsFunc(f, func(name string) bool { return strings.Contains(block, fmt.Sprintf("name = %q", name)) }) {
			keep = append(keep, "[["+block)
		}
	}
	w.setInventory(strings.Join(keep, ""))
	w.step(InventoryChanged{w.inv})
}

func (w *world) printMove(d Done) {
	if d.Err != nil {
		w.say("error: %v", d.Err)
		return
	}
	w.sayMove(w.core.Move(d.Move.VM, d.Move.Epoch))
}

func (w *world) sayMove(m *Move) {
	if m == nil {
		w.say("no move")
		return
	}
	s := fmt.Sprintf("move %s -> %s epoch %d: %s", m.From, m.To, m.Epoch, m.State)
	if m.Error != "" {
		s += " (" + m.Error + ")"
	}
	w.say("%s", s)
}

func (w *world) printBinding(vm mobility.VMID) {
	b := w.core.Binding(vm)
	if b == nil {
		w.say("no binding")
		return
	}
	w.say("at %q slots %s epoch %d base %d issued %d", b.Hypervisor, joinAddrs(b.Slots), b.Epoch, b.Base, b.Issued)
	for _, o := range b.Old {
		w.say("old %s %s", o.Addr, o.State)
	}
	for _, a := range b.Anchors {
		w.say("anchor %s epoch %d confirmed %v cold %v: %s%s", a.Hypervisor, a.Epoch, a.Confirmed, a.Cold, joinAddrs(a.Addrs), trouble(w.core.Trouble(vm, a.Hypervisor)))
	}
	for _, r := range b.Routes {
		w.say("route %s %s epoch %d confirmed %v withdraw %v%s", r.Router, r.Addr, r.Epoch, r.Confirmed, r.Withdraw, trouble(w.core.Trouble(vm, r.Router)))
	}
	for _, y := range b.Yields {
		w.say("gave way %s at %s, %v packets/s", y.Addr, y.Router, y.Rate)
	}
	for _, r := range b.Rehearsal {
		w.say("rehearsal %s %s epoch %d confirmed %v withdraw %v%s", r.Router, r.Addr, r.Epoch, r.Confirmed, r.Withdraw, trouble(w.core.Trouble(vm, r.Router)))
	}
	for _, q := range b.Quarantine {
		w.say("quarantine %s", q.Addr)
	}
}

func trouble(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}
