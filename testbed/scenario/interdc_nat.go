package scenario

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/topology"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// natConnections are the VM's that go out by the NAT box.
const natConnections = 8

// BehindNATIn moves the VM with a private address inside its site and back,
// under connections that its site's NAT box translates, and asks for a move to
// the other site, which must be refused with 129 and a reason.
func BehindNATIn(ctx context.Context, t *TwoSites, o Options) (problems []string, err error) {
	n := nat{t: t, o: &o}
	n.vm, _ = t.Lab.Plan.VM(topology.NATed)
	if err := n.attach(ctx); err != nil {
		return nil, err
	}
	g, err := traffic.OpenTCP(ctx, traffic.TCPConfig{Connections: natConnections,
		Client: t.Lab.Endpoint(n.vm.Name, 4, 0), Server: t.Lab.Endpoint(topology.CN, 4, portNAT)})
	if err != nil {
		return nil, err
	}
	defer g.Stop(3 * time.Second)
	from := g.Mark()
	for _, step := range []func(context.Context) error{
		n.hidden,
		func(ctx context.Context) error { return n.hot(ctx, topology.HVA, topology.HVB, "translated") },
		n.stays,
		func(ctx context.Context) error { return n.hot(ctx, topology.HVB, topology.HVA, "routed") },
		n.stays,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	g.Stop(3 * time.Second)
	r := g.Report(from, g.Mark())
	fmt.Fprintf(o.Out, "  %d of %d connections through the NAT box alive, %d time-outs, the longest silence %v\n", r.Survived, r.Connections, r.Timeouts, r.MaxStall)
	if r.Survived != r.Connections || r.Timeouts > 0 {
		n.problem("%d of %d connections through the NAT box survived, %d time-outs: %v", r.Survived, r.Connections, r.Timeouts, r.Errors)
	}
	return n.problems, nil
}

type nat struct {
	t        *TwoSites
	o        *Options
	vm       topology.VM
	problems []string
}

func (n *nat) problem(format string, args ...any) {
	n.problems = append(n.problems, fmt.Sprintf(format, args...))
}

func (n *nat) binding(ctx context.Context) (*v1.Binding, error) {
	b, err := n.t.Mgmt.GetBinding(ctx, connect.NewRequest(&v1.GetBindingRequest{Vm: n.vm.ID}))
	if err != nil {
		return nil, err
	}
	return b.Msg.Binding, nil
}

func (n *nat) attach(ctx context.Context) error {
	_, err := n.binding(ctx)
	if connect.CodeOf(err) == connect.CodeNotFound {
		return n.t.Attach(ctx, n.vm.Name, []int{6, 4})
	}
	return err
}

// hidden checks that the correspondent node sees the NAT box, not the VM.
func (n *nat) hidden(ctx context.Context) error {
	l, err := n.t.Lab.Node(topology.CN).NS.Listen(ctx, "tcp", netip.AddrPortFrom(n.t.Lab.Plan.CN.V4, portNAT+1).String())
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := n.t.Lab.Node(n.vm.Name).NS.Dial(ctx, &net.Dialer{}, "tcp", l.Addr().String())
	if err != nil {
		return fmt.Errorf("scenario: through the NAT box: %w", err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		return fmt.Errorf("scenario: through the NAT box: %w", err)
	}
	defer s.Close()
	want := across(&n.t.Lab.Plan, topology.Provider, topology.Border1)[1]
	if seen, err := netip.ParseAddrPort(s.RemoteAddr().String()); err != nil || seen.Addr() != want {
		n.problem("the correspondent node sees %s, want the NAT box %s", s.RemoteAddr(), want)
	}
	return nil
}

// hot moves the VM.
func (n *nat) hot(ctx context.Context, from, to, redirect string) error {
	res, err := n.t.Mgmt.PrepareMove(ctx, connect.NewRequest(&v1.PrepareMoveRequest{Vm: n.vm.ID, To: to, Mode: "hot", Addresses: "keep",
		Redirect: redirect, NewConnections: "redirect", WaitNs: int64(patience)}))
	if err != nil {
		return fmt.Errorf("scenario: prepare %s to %s: %w", n.vm.ID, to, err)
	}
	if m := res.Msg.Move; m.State != "ready" {
		return fmt.Errorf("scenario: prepare %s to %s: the move is %s: %s", n.vm.ID, to, m.State, m.Error)
	}
	if _, err := n.t.Agent(from).ReleaseVM(ctx, connect.NewRequest(&v1.ReleaseVMRequest{Vm: n.vm.ID})); err != nil {
		return fmt.Errorf("scenario: release %s: %w", n.vm.ID, err)
	}
	if err := n.t.Lab.Switch.Disconnect(n.vm.Name); err != nil {
		return err
	}
	clock.SleepUntil(clock.Now() + n.o.Pause)
	if err := n.t.Lab.Switch.Connect(n.vm.Name, to); err != nil {
		return err
	}
	if _, err := n.t.Agent(to).ActivateVM(ctx, connect.NewRequest(&v1.ActivateVMRequest{Vm: n.vm.ID, WaitNs: int64(patience)})); err != nil {
		return fmt.Errorf("scenario: activate %s: %w", n.vm.ID, err)
	}
	fmt.Fprintf(n.o.Out, "%s behind the NAT box: %s -> %s, %s\n", n.vm.ID, from, to, redirect)
	return n.confirmed(ctx, to)
}

// confirmed waits until every holder of the binding has confirmed.
func (n *nat) confirmed(ctx context.Context, at string) error {
	deadline := clock.Now() + patience
	for {
		b, err := n.binding(ctx)
		if err != nil {
			return err
		}
		what := unconfirmed(b)
		if what == "" && b.Hypervisor == at {
			return nil
		}
		if clock.Now() > deadline {
			return fmt.Errorf("scenario: %s at %s: %s", n.vm.ID, b.Hypervisor, what)
		}
		clock.SleepUntil(clock.Now() + 5*time.Millisecond)
	}
}

// stays asks for a move to the other site: refused, and nothing has changed.
func (n *nat) stays(ctx context.Context) error {
	before, err := n.binding(ctx)
	if err != nil {
		return err
	}
	for _, redirect := range []string{"translated", "routed"} {
		_, err = n.t.Mgmt.PrepareMove(ctx, connect.NewRequest(&v1.PrepareMoveRequest{Vm: n.vm.ID, To: topology.HVC, Mode: "hot", Addresses: "keep",
			Redirect: redirect, NewConnections: "redirect", WaitNs: int64(patience)}))
		fmt.Fprintf(n.o.Out, "  asked for a move to the other site: %v\n", err)
		if err == nil || !strings.Contains(err.Error(), "129") || !strings.Contains(err.Error(), "behind the NAT box of site "+topology.Site1) {
			n.problem("a %s move to the other site: %v, want 129 and the reason", redirect, err)
		}
	}
	after, err := n.binding(ctx)
	if err == nil && (after.Epoch != before.Epoch || after.Hypervisor != before.Hypervisor || after.State != before.State) {
		n.problem("the binding has changed: %v -> %v", before, after)
	}
	return err
}
