package detect

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseFunction(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		want Function
		text string // as it prints; "" = as it was
	}{
		{"p0", Function{Kind: Uplink, Controller: -1}, ""},
		{"p13", Function{Kind: Uplink, Controller: -1, PF: 13}, ""},
		{"pf0", Function{Kind: HostPF, Controller: -1}, ""},
		{"pf1hpf", Function{Kind: HostPF, Controller: -1, PF: 1}, "pf1"},
		{"c1pf0", Function{Kind: HostPF, Controller: 1}, ""},
		{"pf0vf3", Function{Kind: VF, Controller: -1, Number: 3}, ""},
		{"c1pf1vf127", Function{Kind: VF, Controller: 1, PF: 1, Number: 127}, ""},
		{"pf0sf88", Function{Kind: SF, Controller: -1, Number: 88}, ""},
	} {
		got, ok := ParseFunction(tt.name)
		if diff := cmp.Diff(tt.want, got); diff != "" || !ok {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, ok, diff)
		}
		if tt.text == "" {
			tt.text = tt.name
		}
		if got.String() != tt.text {
			t.Errorf("%s prints as %s", tt.name, got)
		}
	}
	for _, name := range []string{"", "p", "eth0", "p0s1", "pf0vf", "vf3", "pf0vf3x", "xpf0vf3", "pfvf3", "pf0 vf3", "pf0vf-1", "c1p0", "pf0vf99999999999999999999", "pf0sf4294967296"} {
		if f, ok := ParseFunction(name); ok {
			t.Errorf("%q was read as %+v", name, f)
		}
	}
}

// TestFind names ports as a configuration does.
func TestFind(t *testing.T) {
	t.Parallel()
	bf3, bf2 := recorded(t, "bluefield-3"), recorded(t, "bluefield-2")
	second := recorded(t, "bluefield-3").Netdevs // a second card beside the first
	for i := range second {
		second[i].Name = "b" + second[i].Name
		if second[i].SwitchID != "" {
			second[i].SwitchID = "b" + second[i].SwitchID[1:]
		}
	}
	two := append(append([]Netdev(nil), bf3.Netdevs...), second...)
	renamed := []Netdev{
		{Name: "pf0vf0", SwitchID: "a", PortName: "pf0vf1"}, {Name: "pf0vf1", SwitchID: "a", PortName: "pf0vf0"},
		{Name: "pf0vf9"}, {Name: "enp3s0", PortName: "p0"},
	}
	controllers := []Netdev{{Name: "a", SwitchID: "a", PortName: "pf0vf0"}, {Name: "b", SwitchID: "a", PortName: "c1pf0vf0"}}
	for _, tt := range []struct {
		what   string
		ports  []Netdev
		fabric string
		name   string
		want   string // interface; "" = none
		err    string
	}{
		{"by its VF, whatever its interface is called", bf3.Netdevs, "p0", "pf0vf3", "eth7", ""},
		{"with the controller", bf3.Netdevs, "p0", "c1pf0vf3", "eth7", ""},
		{"of another controller", bf3.Netdevs, "p0", "c2pf0vf3", "", ""},
		{"by its SF", bf3.Netdevs, "p0", "pf0sf5", "en3f0pf0sf5", ""},
		{"a VF that is not there", bf3.Netdevs, "p0", "pf0vf7", "", ""},
		{"a VF of the other port", bf3.Netdevs, "p0", "pf1vf0", "", ""},
		{"by its interface", bf3.Netdevs, "p0", "eth7", "eth7", ""},
		{"an uplink", bf3.Netdevs, "p0", "p1", "p1", ""},
		{"without controllers in names", bf2.Netdevs, "p0", "pf0vf1", "pf0vf1", ""},
		{"the function comes before the name", renamed, "enp3s0", "pf0vf0", "pf0vf1", ""},
		{"an interface that is only called so", renamed, "enp3s0", "pf0vf9", "pf0vf9", ""},
		{"no port of an e-switch", renamed, "enp3s0", "p0", "", ""},
		{"on the fabric's card", two, "bp0", "pf0vf3", "beth7", ""},
		{"on two cards, fabric unknown", two, "eth9", "pf0vf3", "", "pf0vf3 is eth7 (e-switch f4c7b50003a4ce08) and beth7 (e-switch b4c7b50003a4ce08)"},
		{"an uplink of two cards, by its interface", two, "", "p0", "p0", ""},
		{"of two controllers", controllers, "", "pf0vf0", "", "name the interface"},
		{"of one of two controllers", controllers, "", "c1pf0vf0", "b", ""},
	} {
		got, ok, err := find(tt.ports, []string{tt.fabric}, tt.name)
		if got.Name != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %s is %q, %v; want %q", tt.what, tt.name, got.Name, ok, tt.want)
		}
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.what, err, tt.err)
		}
	}
}
