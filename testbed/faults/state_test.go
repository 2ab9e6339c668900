package faults

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
)

// record is what an agent knows of a VM; nil if nothing.
func (w *world) record(c dpmipv1connect.AgentServiceClient, id string) (*v1.VM, error) {
	res, err := c.ListVMs(w.ctx, connect.NewRequest(&v1.ListVMsRequest{}))
	if err != nil {
		return nil, err
	}
	for _, v := range res.Msg.Vms {
		if v.Vm == id {
			return v, nil
		}
	}
	return nil, nil
}

// rules lists what a node's device has, without its counters.
func (w *world) rules(node string) []string {
	w.t.Helper()
	res, err := w.agent(node).ListRules(w.ctx, connect.NewRequest(&v1.ListRulesRequest{}))
	w.must(err)
	var out []string
	for _, r := range res.Msg.Rules {
		out = append(out, fmt.Sprintf("%s %s to %q port %q owner %s epoch %d on %v by %s %s %s", r.Kind, r.Address, r.To, r.Port, r.Owner, r.Epoch, r.On, r.Placement, r.Policy, r.Error))
	}
	slices.Sort(out)
	return out
}

// sameRules asserts that a node's device has what it had before, but for the
// delivery addresses of earlier stays, whose quarantine may end at any time,
// those of the VM's way home, which drain there (docs/moves.md, row 10), and the
// traps of proofs, of which none may stay.
func (w *world) sameRules(node string, before []string) {
	w.t.Helper()
	if len(before) == 0 {
		w.t.Errorf("%s had no rules to compare", node)
	}
	if d := cmp.Diff(w.current(node, before), w.current(node, w.rules(node))); d != "" {
		w.t.Errorf("rules at %s (-before +after)\n%s", node, d)
	}
	w.eventually("traps of proofs at "+node+" gone", func() string {
		return strings.Join(slices.DeleteFunc(w.rules(node), func(r string) bool { return !isTrap(r) }), "\n")
	})
}

// isTrap reports whether a rule catches probes: it is taken away a moment after
// the proof, which a move that is ready does not wait for.
func isTrap(rule string) bool { return strings.HasPrefix(rule, "trap ") }

var epochOf = regexp.MustCompile(` epoch (\d+) `)

// restores are deliveries that write another address first.
var restores = regexp.MustCompile(`^deliver (\S+) to "(\S+)" `)

// current leaves out traps, the mover's deliveries of earlier epochs, and at its
// home all that restore.
func (w *world) current(node string, rules []string) []string {
	vm, _ := w.dc.Lab.Plan.VM(mover)
	epoch := func(rule string) (e int) {
		if m := epochOf.FindStringSubmatch(rule); m != nil {
			e, _ = strconv.Atoi(m[1])
		}
		return e
	}
	newest := 0
	for _, r := range rules {
		if strings.Contains(r, strconv.Quote(mover)) {
			newest = max(newest, epoch(r))
		}
	}
	return slices.DeleteFunc(slices.Clone(rules), func(r string) bool {
		if isTrap(r) {
			return true
		}
		m := restores.FindStringSubmatch(r)
		if m == nil || !strings.Contains(r, strconv.Quote(mover)) {
			return false
		}
		return epoch(r) < newest || node == vm.Home && m[1] != m[2]
	})
}

// hits sums what the rules of a kind at a node have counted for an address.
func (w *world) hits(node, kind string) (packets uint64) {
	w.t.Helper()
	res, err := w.agent(node).ListRules(w.ctx, connect.NewRequest(&v1.ListRulesRequest{Kind: kind}))
	w.must(err)
	for _, r := range res.Msg.Rules {
		packets += r.Packets
	}
	return packets
}

// binding is the management node's entry of a VM.
func (w *world) binding(id string) *v1.Binding {
	w.t.Helper()
	res, err := w.mgmt().GetBinding(w.ctx, connect.NewRequest(&v1.GetBindingRequest{Vm: id}))
	w.must(err)
	return res.Msg.Binding
}
