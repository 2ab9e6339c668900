package daemon

import (
	"context"
	"fmt"
	"strings"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string
	State  string // ok, warning, failed, unknown
	Found  string
	Advice string
}

// Doctor tells what is well with an agent and what is not.
type Doctor struct {
	Loop    *Loop
	Worker  *Worker
	Records *Records
	// Machine probes the machine; nil = it is not looked at.
	Machine func() []Check
}

// Checks looks at everything.
func (d *Doctor) Checks(ctx context.Context) []*dpmipv1.Check {
	var list []Check
	if d.Machine != nil {
		list = d.Machine()
	}
	list = append(list, d.management(ctx), d.region(ctx), d.vms(ctx))
	list = append(list, d.device(ctx)...)
	return Report(list).Checks
}

// Report is checks as the admin interface tells them.
func Report(list []Check) *dpmipv1.DoctorResponse {
	out := &dpmipv1.DoctorResponse{Checks: make([]*dpmipv1.Check, len(list))}
	for i, c := range list {
		out.Checks[i] = &dpmipv1.Check{Name: c.Name, State: c.State, Found: c.Found, Advice: c.Advice}
	}
	return out
}

// Healthy is an error while the main job suffers: the device does not hold a
// rule that it should.
func (d *Doctor) Healthy(ctx context.Context) error {
	var failed []string
	ok := d.Worker.Call(ctx, func(_ context.Context, h *agent.Hands) {
		for _, st := range h.Reconciler.Unsettled() {
			if st.Err != nil {
				failed = append(failed, fmt.Sprintf("%s: %v", st.Rule.ID(), st.Err))
			}
		}
	})
	switch {
	case !ok:
		return ErrStopping
	case len(failed) > 0:
		return fmt.Errorf("daemon: %d rules are not as they should be, the first: %s", len(failed), failed[0])
	}
	return nil
}

func (d *Doctor) management(ctx context.Context) Check {
	c := Check{Name: "management", State: "ok"}
	contact, err := d.Loop.Contact(ctx)
	switch {
	case err != nil:
		c.State, c.Found = "unknown", err.Error()
	case len(contact.Silent) > 0:
		c.State, c.Found = "warning", fmt.Sprintf("%v do not answer heartbeats", contact.Silent)
		c.Advice = "forwarding stays as it is; look at the management node, its keys for this hypervisor, and the path to it"
	default:
		c.Found = fmt.Sprintf("%s answers, its clock is %v ahead", contact.Using, contact.Offset)
	}
	return c
}

func (d *Doctor) region(ctx context.Context) Check {
	c := Check{Name: "binding update list", State: "ok"}
	stats, err := d.Loop.Stats(ctx, d.Records)
	if err != nil {
		c.State, c.Found = "unknown", err.Error()
		return c
	}
	c.Found = fmt.Sprintf("%d entries, %d of %d cells used", stats.Entries, stats.UsedCells, stats.Cells)
	if stats.FreeCells < stats.Cells/20 {
		c.State, c.Advice = "warning", "give the region more memory (region.size): a full one refuses moves with status 130"
	}
	return c
}

func (d *Doctor) vms(ctx context.Context) Check {
	c := Check{Name: "vms", State: "ok"}
	views, err := d.Loop.Views(ctx)
	if err != nil {
		c.State, c.Found = "unknown", err.Error()
		return c
	}
	roles := map[string]int{}
	var bad []string
	for _, v := range views {
		roles[v.Role]++
		if v.Problem != "" {
			bad = append(bad, v.VM.String()+": "+v.Problem)
		}
	}
	c.Found = fmt.Sprintf("%d: %v", len(views), roles)
	if len(bad) > 0 {
		c.State, c.Found = "warning", strings.Join(bad, "; ")
		c.Advice = "see docs/operations.md for the status; the agent tries again by itself"
	}
	return c
}

func (d *Doctor) device(ctx context.Context) []Check {
	c := Check{Name: "rules", State: "ok", Found: "the device holds every rule that it should"}
	if err := d.Healthy(ctx); err != nil {
		c.State, c.Found, c.Advice = "failed", err.Error(), "the agent tries again by itself; see dpmipctl redirects and the log"
	}
	out := []Check{c}
	for _, f := range d.Worker.hands.Device.Capabilities().Features {
		state := map[hwabstraction.Answer]string{hwabstraction.Yes: "ok", hwabstraction.No: "warning", hwabstraction.Unknown: "unknown"}[f.Answer]
		out = append(out, Check{Name: "feature " + string(f.Feature), State: state, Found: f.Answer.String() + ": " + f.Reason})
	}
	return out
}
