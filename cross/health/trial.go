package health

import "fmt"

// Names of the checks that a trial depends on.
const (
	Management = "management" // the management node answers heartbeats
	Rules      = "rules"      // the device holds what it should: adopted, nothing missing
	VMs        = "vms"        // every VM is registered
)

// Fit says whether an agent on trial may stay: "" when its management node
// answers, its rules are in the device and its VMs are registered; else what is
// wrong. A VM that had a problem before the update does not count against it:
// before is the report of the agent that it replaces, nil where there was none.
func Fit(before, now map[string]Check) string {
	for _, name := range []string{Rules, Management, VMs} {
		c, ok := now[name]
		switch {
		case !ok:
			return fmt.Sprintf("the doctor does not report on %s", name)
		case c.State == "ok", name == VMs && before[VMs].State == c.State && before[VMs].Found == c.Found:
			continue
		}
		return fmt.Sprintf("%s: %s: %s", name, c.State, c.Found)
	}
	return ""
}
