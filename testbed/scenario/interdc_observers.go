package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/topology"
)

// Observers between two sites, beyond the routers that are told.
const (
	observerPeer = "peer" // the provider's kernel: what BGP has brought
	observerIGP  = "igp"  // what the FRR of a ToR has by the IGP: what it would give a router that nobody tells
)

// probeRanges are what probe addresses are taken from.
var probeRanges = []netip.Prefix{netip.MustParsePrefix("2001:db8:fffe::/64"), netip.MustParsePrefix("10.254.0.0/24")}

// observerPlace is where an observer runs and what it asks.
type observerPlace struct{ Name, node, config string }

// observers are those of the two sites.
func (f *fabric) observers() []observerPlace {
	return []observerPlace{
		{observerPeer, topology.Provider, "source = \"kernel\"\n"},
		{observerIGP, topology.ToRB, fmt.Sprintf("source = \"frr\"\n[frr]\nsocket_dir = %q\nprotocols = %s\n", f.frr[topology.ToRB].Socket(), tomlList(f.in.words()))},
	}
}

// startObservers runs "dpmip-router observe" where the settings say. They report
// by the management node's own socket: the provider has no way to it.
func (d *DataCentre) startObservers(context.Context) error {
	if d.set.observers == nil {
		return nil
	}
	for _, o := range d.set.observers() {
		text := fmt.Sprintf("log_level = \"debug\"\n%s\n[report]\nname = %q\ntarget = %q\n", o.config, o.Name, d.daemons[topology.Mgmt].socket)
		path := filepath.Join(d.Lab.Node(o.node).Dir, o.Name+".toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		log, err := os.OpenFile(strings.TrimSuffix(path, "toml")+"log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		d.daemons[o.Name] = &daemon{node: o.node, program: "dpmip-router", args: []string{"observe"}, config: path, log: log}
		if err := d.Restart(o.Name); err != nil {
			return err
		}
	}
	return nil
}

// SetPolicy replaces the lines that were added to the inventory's [policy], and
// makes the management node go by it.
func (d *DataCentre) SetPolicy(ctx context.Context, policy string) error {
	d.set.Policy = policy
	if err := d.writeInventory(); err != nil {
		return err
	}
	_, err := d.Mgmt.Reload(ctx, connect.NewRequest(&v1.ReloadRequest{}))
	return err
}

// provedByIGP is provedBetweenSites with one who sees what the IGP brings.
var provedByIGP = strings.Replace(provedBetweenSites, `"torB"]`, `"torB", "`+observerIGP+`"]`, 1)

// redistributionBroken is done before each move: the first is refused, because
// the destination's ToR tells its IGP of no host route; then it is mended.
func (r *run) redistributionBroken(ctx context.Context, next hop) error {
	if next.to == "" || len(r.moves) > 0 {
		return nil
	}
	if err := r.dc.SetPolicy(ctx, provedByIGP); err != nil {
		return err
	}
	r.undo = append(r.undo, func() error { return r.dc.SetPolicy(context.WithoutCancel(ctx), provedBetweenSites) })
	h, _ := r.dc.Lab.Plan.Hypervisor(next.to)
	tor := r.o.two.fabric.frr[h.Router]
	return r.watch(ctx, h.Router+" tells its IGP of no host route", true, func(ctx context.Context) error {
		if err := tor.Apply("no route-map DPMIP6 permit 10\nno route-map DPMIP4 permit 10\n"); err != nil {
			return err
		}
		if err := r.stopped(ctx, next); err != nil {
			return err
		}
		return r.mendToR(h.Router, h.Name)
	})
}

// mendToR gives the FRR of a hypervisor's ToR its route-maps back.
func (r *run) mendToR(tor, hv string) error {
	f, p := r.o.two.fabric, &r.dc.Lab.Plan
	x, _ := p.Router(tor)
	return f.frr[tor].Apply(f.in.fragment(p, x, []string{hv}).Fragment())
}

// stopped asks for a move, which a proof must stop before anything of the VM is
// touched, and checks that the observer of the IGP is the one who has not seen it.
func (r *run) stopped(ctx context.Context, next hop) error {
	before, err := r.binding(ctx, r.vm.ID)
	if err != nil {
		return err
	}
	began := clock.Now()
	res, err := r.dc.Mgmt.PrepareMove(ctx, connect.NewRequest(&v1.PrepareMoveRequest{Vm: r.vm.ID, To: next.to, Mode: "hot",
		Addresses: r.o.Addresses.String(), Redirect: r.o.Redirect.String(), NewConnections: r.o.New.String(), WaitNs: int64(20 * time.Second)}))
	var why string
	switch {
	case err != nil:
		why = err.Error()
	default:
		why = res.Msg.Move.Error
	}
	if want := "not proved: that " + observerIGP + " has the host route of probe address"; !strings.Contains(why, want) {
		r.problem("the move is not stopped by %q: %s", want, why)
	}
	fmt.Fprintf(r.o.Out, "  the move was stopped after %v: %s\n", (clock.Now() - began).Round(time.Millisecond), why)
	return r.poll(ctx, func() (string, error) {
		b, err := r.binding(ctx, r.vm.ID)
		if err == nil && (b.Hypervisor != next.from || b.Epoch != before.Epoch || b.State != "registered") {
			return fmt.Sprintf("%s is %s at %s, epoch %d; want registered at %s, epoch %d", r.vm.ID, b.State, b.Hypervisor, b.Epoch, next.from, before.Epoch), nil
		}
		return "", err
	})
}

// rehearsed checks, in the receipt of a move away from home, that every observer
// has seen the probe addresses come and go before the switch.
func (r *run) rehearsed(ctx context.Context, m *move) error {
	res, err := r.dc.Mgmt.GetReceipt(ctx, connect.NewRequest(&v1.GetReceiptRequest{Vm: m.id, Epoch: m.epoch}))
	if err != nil {
		return fmt.Errorf("scenario: receipt of %s: %w", m, err)
	}
	seen, longest := map[string]int{}, time.Duration(0)
	for _, p := range res.Msg.Receipt.Move.Proofs {
		a, err := netip.ParseAddr(p.Address)
		if err == nil && p.State == "seen" && (probeRanges[0].Contains(a) || probeRanges[1].Contains(a)) {
			seen[p.Kind]++
			longest = max(longest, time.Duration(p.TookNs))
		}
	}
	if n := seen["announced"]; n == 0 || seen["reached"] != n || seen["retracted"] != n {
		r.problem("%s: the probe addresses were seen %v", m, seen)
	}
	fmt.Fprintf(r.o.Out, "                 %d probe routes were seen to come and go, the longest took %v\n", seen["announced"], longest.Round(100*time.Microsecond))
	return nil
}
