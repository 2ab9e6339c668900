package detect

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLost: the e-switches behind the fabric that left switchdev mode are named,
// with what to do; one that is not told of is not taken for one that has.
func TestLost(t *testing.T) {
	t.Parallel()
	two := []string{"0000:03:00.0", "0000:03:00.1"}
	for name, c := range map[string]struct {
		buses []string
		now   []Eswitch
		want  string
		err   string
	}{
		"none to look at":     {nil, []Eswitch{{"0000:03:00.0", "legacy"}}, "", ""},
		"as they were":        {two, []Eswitch{{two[0], "switchdev"}, {two[1], "switchdev"}}, "", ""},
		"another's":           {two[:1], []Eswitch{{two[0], "switchdev"}, {two[1], "legacy"}}, "", ""},
		"one left":            {two, []Eswitch{{two[0], "switchdev"}, {two[1], "legacy"}}, two[1] + " is in legacy mode; devlink dev eswitch set pci/" + two[1] + " mode switchdev", ""},
		"inactive":            {two[:1], []Eswitch{{two[0], "switchdev_inactive"}}, two[0] + " is in switchdev_inactive mode", ""},
		"not told of":         {two, []Eswitch{{two[0], "switchdev"}}, "", two[1]},
		"told without a mode": {two[:1], []Eswitch{{two[0], ""}}, "", two[0]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := lost(c.buses, c.now)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("err = %v, want one with %q", err, c.err)
			}
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestSwitched: the mode is followed of those e-switches that filters go to.
func TestSwitched(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		machine string
		fabric  []string
		want    []string
	}{
		{"bluefield-3", []string{"p0", "p1"}, []string{"0000:03:00.0", "0000:03:00.1"}},
		{"bluefield-3", []string{"p0", "none"}, []string{"0000:03:00.0"}},
		{"bluefield-legacy", []string{"p0"}, nil},
		{"veth-tcx", []string{"fab0"}, nil},
	} {
		e := recorded(t, c.machine)
		e.Fabric = c.fabric
		if diff := cmp.Diff(c.want, e.switched()); diff != "" {
			t.Errorf("%s, %v (-want +got):\n%s", c.machine, c.fabric, diff)
		}
	}
}
