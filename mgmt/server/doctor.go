package server

import (
	"fmt"
	"strings"
	"time"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt"
)

// examples bounds how many of a kind doctor names.
const examples = 3

// claimsCheck tells of what two places say is theirs.
func claimsCheck(c *mgmt.Core, now time.Time) *v1.Check {
	check := &v1.Check{Name: "claims", State: "ok", Found: "nobody has claimed what another has, in the last hour"}
	claims := c.Claims(now)
	if len(claims) == 0 {
		return check
	}
	var list []string
	for _, x := range claims[:min(examples, len(claims))] {
		list = append(list, fmt.Sprintf("%s (%d so far, last %s ago)", x.String(), x.Count, now.Sub(x.Last).Round(time.Second)))
	}
	check.State, check.Found = "warning", strings.Join(list, "; ")
	if more := len(claims) - len(list); more > 0 {
		check.Found += fmt.Sprintf("; and %d more", more)
	}
	check.Advice = "the first one keeps it. Find out which of the two is wrong: a VM started twice, an address given out twice, a data centre restored from a backup"
	return check
}

// departureCheck tells of host routes that outlive their VMs.
func departureCheck(c *mgmt.Core) *v1.Check {
	check := &v1.Check{Name: "departures", State: "ok", Found: "no host route has outlived its VM"}
	list := c.Lingering()
	if len(list) == 0 {
		return check
	}
	x := list[0]
	check.State = "warning"
	check.Found = fmt.Sprintf("%d host routes of VMs that are gone have not been seen to go, for example of %s (vm %s) at %s", len(list), x.Proof.Address, x.VM, x.Proof.From)
	check.Advice = "their addresses stay in quarantine until they have: look at that router and its peers, `dpmipctl route`"
	return check
}

// observersCheck tells whether those whom policy wants asked can be.
func observersCheck(c *mgmt.Core) *v1.Check {
	all := c.Inventory().Policy.Proofs.Everywhere()
	check := &v1.Check{Name: "observers", State: "ok", Found: fmt.Sprintf("%d of %d can be asked", len(all), len(all))}
	var mute []string
	for _, name := range all {
		if !c.MayAsk(name) {
			mute = append(mute, name)
		}
	}
	if len(mute) > 0 {
		check.State, check.Found = "warning", fmt.Sprintf("%d of %d can be asked", len(all)-len(mute), len(all))
		check.Advice = "not " + strings.Join(mute, ", ") + ": is its `[report]` right, is it up? Where a policy of proofs is `require`, moves are refused"
	}
	return check
}
