package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt"
)

// namesOf tells who served which answer when.
func namesOf(list []mgmt.NamesReport) []*v1.NamesReport {
	var out []*v1.NamesReport
	for _, n := range list {
		x := &v1.NamesReport{Stage: n.Stage, Zone: n.Zone, By: n.By, Epoch: uint32(n.Epoch), Step: n.Step, Outcome: n.Outcome,
			OrderedNs: nanos(n.Ordered), PublishedNs: nanos(n.Published), Failure: n.Failure}
		for _, s := range n.Servers {
			x.Servers = append(x.Servers, namesServerOf(s))
		}
		out = append(out, x)
	}
	return out
}

func namesServerOf(s mgmt.NamesServer) *v1.NamesServer {
	out := &v1.NamesServer{Server: s.Server, Serial: s.Serial, SeenNs: nanos(s.Seen), Missing: s.Missing}
	for _, a := range s.Answers {
		out.Answers = append(out.Answers, &v1.NamesAnswer{Name: a.Name, Type: a.Type, Ttl: a.TTL, Data: a.Data, AtNs: nanos(a.At)})
	}
	return out
}

func sharesTo(list []mgmt.DirectShare) []*v1.DirectShare {
	var out []*v1.DirectShare
	for _, s := range list {
		out = append(out, &v1.DirectShare{SinceCommitNs: int64(s.SinceCommit), LengthNs: int64(s.Length),
			Attempted: s.Attempted, Direct: s.Direct, Redirected: s.Redirected, Failed: s.Failed})
	}
	return out
}

func sharesOf(list []*v1.DirectShare) []mgmt.DirectShare {
	var out []mgmt.DirectShare
	for _, s := range list {
		out = append(out, mgmt.DirectShare{SinceCommit: time.Duration(s.GetSinceCommitNs()), Length: time.Duration(s.GetLengthNs()),
			Attempted: s.GetAttempted(), Direct: s.GetDirect(), Redirected: s.GetRedirected(), Failed: s.GetFailed()})
	}
	return out
}

// troublesTold is how many VMs a check names.
const troublesTold = 5

// namesCheck says whether the DNS is known to be right.
func namesCheck(c *mgmt.Core) *v1.Check {
	trouble, pending := c.NamesTrouble(), c.NamesPending()
	check := &v1.Check{Name: "names", State: "ok", Found: fmt.Sprintf("%d orders for the DNS have not ended, %d VMs in trouble", pending, len(trouble))}
	if len(trouble) == 0 {
		return check
	}
	var list []string
	for vm := range maps.Keys(trouble) {
		list = append(list, vm.String()+": "+trouble[vm])
	}
	slices.Sort(list)
	check.State, check.Advice = "warning", strings.Join(list[:min(len(list), troublesTold)], "; ")+" (docs/dns.md says what to do)"
	return check
}
