package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/topology"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// claimPPS is the traffic with the first owner while another claims what it has.
const claimPPS = 500

// ClaimedIn lets a hypervisor of the other site register what the mover, at
// home, has: its addresses for a VM of that site, then the mover itself. Both are
// refused with a status and a reason that names both places, the mover keeps its
// traffic, and the alarm is raised.
func ClaimedIn(ctx context.Context, t *TwoSites, o Options) (problems []string, err error) {
	c := claim{t: t, o: &o}
	c.owner, _ = t.Lab.Plan.VM(mover)
	c.other, _ = t.Lab.Plan.VM("vm3")
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	defer stopAll(c.streams)
	before, err := c.alarms(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range []struct {
		vm, of, say string
		addresses   []string
	}{
		{c.other.ID, "address", fmt.Sprintf("%s claims %s for vm %s, which belongs to vm %s at %s (site %s)",
			c.other.Home, c.owner.Addr.V6, c.other.ID, c.owner.ID, c.owner.Home, topology.Site1),
			[]string{c.owner.Addr.V6.String(), c.other.Addr.V4.String()}},
		{c.owner.ID, "vm", fmt.Sprintf("%s claims vm %s, which %s (site %s) serves", c.other.Home, c.owner.ID, c.owner.Home, topology.Site1),
			[]string{c.owner.Addr.V6.String(), c.owner.Addr.V4.String()}},
	} {
		if err := c.refused(ctx, x.vm, x.addresses); err != nil {
			return nil, err
		}
		if err := c.told(ctx, x.say); err != nil {
			return nil, err
		}
		after, err := c.alarms(ctx)
		if err != nil {
			return nil, err
		}
		if after[x.of] <= before[x.of] {
			c.problem("the alarm of a claimed %s is not counted: %v before, %v after", x.of, before, after)
		}
	}
	return c.problems, c.end(ctx)
}

type claim struct {
	t            *TwoSites
	o            *Options
	owner, other topology.VM // other's port is where the claims come from
	first        *v1.Binding // of owner
	streams      []*traffic.Stream
	problems     []string
}

func (c *claim) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

func (c *claim) binding(ctx context.Context, vm string) (*v1.Binding, error) {
	b, err := c.t.Mgmt.GetBinding(ctx, connect.NewRequest(&v1.GetBindingRequest{Vm: vm}))
	if err != nil {
		return nil, err
	}
	return b.Msg.Binding, nil
}

// begin attaches the first owner, lets its traffic flow, and gives the other VM
// a port at its home; its agent has not been told of it.
func (c *claim) begin(ctx context.Context) (err error) {
	if c.first, err = c.binding(ctx, c.owner.ID); connect.CodeOf(err) == connect.CodeNotFound {
		if err = c.t.Attach(ctx, c.owner.Name, []int{6, 4}); err == nil {
			c.first, err = c.binding(ctx, c.owner.ID)
		}
	}
	if err != nil {
		return err
	}
	if _, err := c.binding(ctx, c.other.ID); connect.CodeOf(err) != connect.CodeNotFound {
		return fmt.Errorf("scenario: %s is attached already, or cannot be asked for: %w", c.other.ID, err)
	}
	if err := c.t.Lab.Switch.Connect(c.other.Name, c.other.Home); err != nil {
		return err
	}
	for i, fam := range []int{6, 4} {
		port := uint16(portClaim + i)
		s, err := traffic.OpenStream(traffic.StreamConfig{ID: uint32(port), PPS: claimPPS,
			A: c.t.Lab.Endpoint(topology.CN, fam, port), B: c.t.Lab.Endpoint(c.owner.Name, fam, port)})
		if err != nil {
			stopAll(c.streams)
			return err
		}
		c.streams = append(c.streams, s)
		s.Start()
	}
	if err := c.flowing(ctx); err != nil {
		stopAll(c.streams)
		return err
	}
	return nil
}

// flowing waits until more has come through both ways.
func (c *claim) flowing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, s := range c.streams {
		a, b := s.Arrived()
		if err := s.WaitFor(ctx, max(a, b)+claimPPS/10); err != nil {
			return fmt.Errorf("scenario: no traffic between %s and %s: %w", topology.CN, c.owner.Name, err)
		}
	}
	return nil
}

// refused attaches what is another's, to no avail, and takes it back.
func (c *claim) refused(ctx context.Context, vm string, addresses []string) error {
	agent := c.t.Agent(c.other.Home)
	_, err := agent.AttachVM(ctx, connect.NewRequest(&v1.AttachVMRequest{Vm: vm, Port: c.other.Name, Mac: c.other.MAC.String(),
		Addresses: addresses, WaitNs: int64(2 * time.Second)}))
	fmt.Fprintf(c.o.Out, "  %s claims %s for %s: %v\n", c.other.Home, strings.Join(addresses, ", "), vm, err)
	if err == nil {
		c.problem("%s was given %v for %s", c.other.Home, addresses, vm)
	}
	if err := c.flowing(ctx); err != nil { // while the other agent still believes in it
		return err
	}
	_, err = agent.DetachVM(ctx, connect.NewRequest(&v1.DetachVMRequest{Vm: vm, WaitNs: int64(time.Second)}))
	if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
		return fmt.Errorf("scenario: detach %s at %s: %w", vm, c.other.Home, err)
	}
	now, err := c.binding(ctx, c.owner.ID)
	if err == nil && (now.Hypervisor != c.first.Hypervisor || now.Epoch != c.first.Epoch || now.State != c.first.State) {
		c.problem("the binding of %s has changed: %v -> %v", c.owner.ID, c.first, now)
	}
	return err
}

// told checks what doctor says.
func (c *claim) told(ctx context.Context, want string) error {
	r, err := c.t.Mgmt.Doctor(ctx, connect.NewRequest(&v1.DoctorRequest{}))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(r.Msg.Checks, func(x *v1.Check) bool { return x.Name == "claims" })
	if i < 0 {
		return errors.New("scenario: doctor has no check of claims")
	}
	if x := r.Msg.Checks[i]; x.State == "ok" || !strings.Contains(x.Found, want) {
		c.problem("doctor says %s, %q: want %q", x.State, x.Found, want)
	}
	return nil
}

// alarms reads the counter of claims by the other VM's home.
func (c *claim) alarms(ctx context.Context) (map[string]float64, error) {
	lines, err := metricsOf(ctx, filepath.Join(c.t.Lab.Node(topology.Mgmt).Dir, "mgmt.sock"))
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, of := range []string{"address", "vm"} {
		name := fmt.Sprintf("dpmip_mgmt_claims_total{hypervisor=%q,of=%q} ", c.other.Home, of)
		for _, line := range lines {
			if value, ok := strings.CutPrefix(line, name); ok {
				if out[of], err = strconv.ParseFloat(value, 64); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}

// end judges the traffic, and attaches the other VM as it should be.
func (c *claim) end(ctx context.Context) error {
	clock.SleepUntil(clock.Now() + c.o.Settle)
	stopAll(c.streams)
	for _, s := range c.streams {
		r := s.Whole().Total()
		fmt.Fprintf(c.o.Out, "  %s with %s: %d datagrams, %d lost\n", c.owner.Name, topology.CN, r.Sent, r.Lost)
		if r.Lost+r.Duplicated+r.Refused > 0 {
			c.problem("of %d datagrams %d were lost, %d came twice, %d were answered by an ICMP error", r.Sent, r.Lost, r.Duplicated, r.Refused)
		}
	}
	if err := c.t.Lab.Switch.Disconnect(c.other.Name); err != nil {
		return err
	}
	return c.t.Attach(ctx, c.other.Name, []int{6, 4})
}
