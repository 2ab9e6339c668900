package detect

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/hwabstraction"
)

// recorded reads a machine that was recorded.
func recorded(t *testing.T, name string) Environment {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var e Environment
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return e
}

const kernelOnly = "skip_hw: filters stay in the kernel, on any port"

func TestChoose(t *testing.T) {
	t.Parallel()
	tests := []struct {
		machine, fabric, backend, attach string
		skipHW                           bool
		want                             Choice
		refused                          bool
	}{
		{
			machine: "veth-tcx", fabric: "fab0",
			want: Choice{Backend: Software, Attach: AttachTCX, Reasons: []string{"fab0: a veth has no hardware", "programs by TCX"}},
		},
		{
			machine: "veth-tcx", fabric: "fab0", backend: Software, attach: AttachClsBPF,
			want: Choice{Backend: Software, Attach: AttachClsBPF, Reasons: []string{"cls_bpf was asked for", "software was asked for"}},
		},
		{
			machine: "veth-tcx", fabric: "fab0", backend: Switchdev, refused: true,
			want: Choice{Reasons: []string{"switchdev was asked for: fab0: a veth has no hardware"}},
		},
		{
			machine: "veth-tcx", fabric: "fab0", skipHW: true,
			want: Choice{Backend: Software, Attach: AttachTCX, Reasons: []string{
				kernelOnly, "the kernel has no flower: flower with act_mirred: no such file or directory", "programs by TCX",
			}},
		},
		{
			machine: "debian-6.1", fabric: "ens3", backend: Switchdev, skipHW: true,
			want: Choice{Backend: Switchdev, Attach: AttachClsBPF, Reasons: []string{kernelOnly}},
		},
		{
			machine: "debian-6.1", fabric: "ens3", attach: AttachClsBPF, skipHW: true,
			want: Choice{Backend: Switchdev, Attach: AttachClsBPF, Reasons: []string{kernelOnly}},
		},
		{
			machine: "debian-6.1", fabric: "ens3", backend: "xdp", refused: true,
			want: Choice{Reasons: []string{`there is no backend "xdp"`}},
		},
		{
			machine: "veth-tcx", fabric: "fab9", attach: "xdp", refused: true,
			want: Choice{Reasons: []string{`detect: there is no way to attach called "xdp": hwabstraction: not supported`}},
		},
		{
			machine: "debian-6.1", fabric: "ens3",
			want: Choice{Backend: Software, Attach: AttachClsBPF, Reasons: []string{
				"ens3: virtio_net has no e-switch that devlink knows",
				"programs by cls_bpf, no TCX: tcx: not supported (requires >= v6.6)",
			}},
		},
		{
			machine: "debian-6.1", fabric: "ens3", attach: AttachTCX, refused: true,
			want: Choice{Reasons: []string{
				"detect: TCX was asked for and is not there: tcx: not supported (requires >= v6.6): hwabstraction: not supported",
			}},
		},
		{
			machine: "no-net-admin", fabric: "fab0", refused: true,
			want: Choice{Reasons: []string{"CAP_NET_ADMIN is missing: the process (user 1000) does not have it"}},
		},
		{
			machine: "no-way-in", fabric: "fab0", refused: true,
			want: Choice{Reasons: []string{
				"detect: neither TCX nor cls_bpf: tcx: not supported; no such file or directory: hwabstraction: not supported",
			}},
		},
		{
			machine: "bluefield-3", fabric: "p0",
			want: Choice{Backend: Switchdev, Attach: AttachClsBPF, Reasons: []string{
				"p0: uplink of 0000:03:00.0 (mlx5_core) in switchdev mode, 4 representors",
			}},
		},
		{
			machine: "bluefield-2", fabric: "p0", backend: Switchdev,
			want: Choice{Backend: Switchdev, Attach: AttachClsBPF, Reasons: []string{
				"p0: uplink of 0000:03:00.0 (mlx5_core) in switchdev mode, 2 representors, hw-tc-offload is off",
			}},
		},
		{
			machine: "bluefield-3", fabric: "p0", attach: AttachTCX,
			want: Choice{Backend: Software, Attach: AttachTCX, Reasons: []string{
				"p0: uplink of 0000:03:00.0 (mlx5_core) in switchdev mode, 4 representors",
				"TCX was asked for, and its programs come before every filter", "TCX was asked for",
			}},
		},
		{
			machine: "bluefield-3", fabric: "pf0hpf", backend: Switchdev, refused: true,
			want: Choice{Reasons: []string{
				`switchdev was asked for: pf0hpf: not an uplink of 0000:03:00.0 (mlx5e_rep): phys_port_name is "c1pf0", phys_switch_id "f4c7b50003a4ce08"`,
			}},
		},
		{
			machine: "bluefield-no-act-ct", fabric: "p0",
			want: Choice{Backend: Software, Attach: AttachTCX, Reasons: []string{
				"p0: uplink of 0000:03:00.0 (mlx5_core) in switchdev mode, 4 representors",
				"the kernel has no act_ct: flower with act_ct: no such file or directory",
				"programs by TCX",
			}},
		},
		{
			machine: "bluefield-legacy", fabric: "p0",
			want: Choice{Backend: Software, Attach: AttachTCX, Reasons: []string{
				"p0: 0000:03:00.0 (mlx5_core) is in legacy mode and has no representors: rules stay in software",
				"programs by TCX",
			}},
		},
		{
			machine: "bluefield-legacy", fabric: "p1",
			want: Choice{Backend: Software, Attach: AttachTCX, Reasons: []string{"p1: no such port yet", "programs by TCX"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.machine+"/"+tt.backend+tt.attach, func(t *testing.T) {
			t.Parallel()
			got, err := Choose(recorded(t, tt.machine), Want{Backend: tt.backend, Attach: tt.attach, Fabric: []string{tt.fabric}, SkipHW: tt.skipHW})
			if errors.Is(err, hwabstraction.ErrNotSupported) != tt.refused || (err != nil) != tt.refused {
				t.Errorf("error %v, want one: %v", err, tt.refused)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("choice (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDiagnose names, for each machine, every check that is not good.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	tests := []struct {
		machine string
		want    map[string]State
	}{
		{"veth-tcx", map[string]State{}},
		{"debian-6.1", map[string]State{
			"bpffs": StateWarning, "net.ipv4.ip_forward": StateBad, "net.ipv4.conf.all.rp_filter": StateBad,
		}},
		{"no-net-admin", map[string]State{
			"CAP_NET_ADMIN": StateBad, "CAP_SYS_ADMIN": StateBad, "CAP_NET_RAW": StateBad,
			"bpf": StateUnknown, "attach": StateUnknown, "ifb": StateUnknown, "tbf": StateUnknown, "nf_tables": StateUnknown,
			"bpffs": StateUnknown,
		}},
		{"no-way-in", map[string]State{"attach": StateBad, "ifb": StateBad}},
		{"bluefield-3", map[string]State{"port function": StateWarning}},
		{"bluefield-2", map[string]State{
			CtLookup: StateWarning, "net.ipv6.conf.all.accept_untracked_na": StateUnknown, "hw-tc-offload": StateWarning,
		}},
		{"bluefield-no-act-ct", map[string]State{"port function": StateWarning, ActCt: StateWarning}},
		{"bluefield-legacy", map[string]State{"eswitch": StateWarning}},
	}
	for _, tt := range tests {
		t.Run(tt.machine, func(t *testing.T) {
			t.Parallel()
			got := map[string]State{}
			for _, c := range Diagnose(recorded(t, tt.machine)) {
				if c.State == StateGood {
					continue
				}
				got[c.Name] = c.State
				if c.State != StateUnknown && c.Advice == "" || c.Found == "" {
					t.Errorf("%s is %s without saying what was found or what to do: %+v", c.Name, c.State, c)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("checks that are not good (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDiagnoseLimits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*Environment)
		check  string
		want   State
	}{
		{"old kernel with a small limit", func(e *Environment) { e.Kernel, e.Memlock = "5.10.0", 64<<10 }, "memlock", StateBad},
		{"new kernel with a small limit", func(e *Environment) { e.Memlock = 64 << 10 }, "memlock", StateGood},
		{"small conntrack table", func(e *Environment) { e.Sysctls["net.netfilter.nf_conntrack_max"] = "4096" }, "net.netfilter.nf_conntrack_max", StateWarning},
		{"no conntrack", func(e *Environment) { delete(e.Sysctls, "net.netfilter.nf_conntrack_max") }, "net.netfilter.nf_conntrack_max", StateUnknown},
		{"region on a disk", func(e *Environment) { e.RegionDir.Type = "ext4" }, "region", StateBad},
		{"no huge pages", func(e *Environment) { e.RegionDir.Type = "hugetlbfs" }, "region", StateWarning},
		{"loose rp_filter", func(e *Environment) { e.Sysctls["net.ipv4.conf.all.rp_filter"] = "2" }, "net.ipv4.conf.all.rp_filter", StateGood},
		{"no clock", func(e *Environment) { e.Clock = nil }, "clock", StateUnknown},
		{"clock not synchronised", func(e *Environment) { e.Clock.Synchronised = false }, "clock", StateWarning},
		{"clock far off", func(e *Environment) { e.Clock.MaxError = time.Second }, "clock", StateWarning},
		{"announcements ignored", func(e *Environment) { e.Sysctls["net.ipv4.conf.all.arp_accept"] = "0" }, "net.ipv4.conf.all.arp_accept", StateWarning},
		{"any announcement is taken", func(e *Environment) { e.Sysctls["net.ipv6.conf.all.accept_untracked_na"] = "2" }, "net.ipv6.conf.all.accept_untracked_na", StateGood},
		{"old kernel without untracked_na", func(e *Environment) { delete(e.Sysctls, "net.ipv6.conf.all.accept_untracked_na") }, "net.ipv6.conf.all.accept_untracked_na", StateUnknown},
		{"a port", func(e *Environment) { e.Fabric = []string{"fab0"} }, "fabric port", StateGood},
		{"no such port", func(e *Environment) { e.Fabric = []string{"fab7"} }, "fabric port", StateBad},
		{"port of Open vSwitch", func(e *Environment) { e.Fabric, e.Netdevs[1].Master = []string{"fab0"}, "ovs-system" }, "fabric port", StateBad},
		{"port of a bridge", func(e *Environment) { e.Fabric, e.Netdevs[1].Master = []string{"fab0"}, "br0" }, "fabric port", StateWarning},
		{"strict port", func(e *Environment) { e.Fabric, e.Netdevs[1].RPFilter = []string{"fab0"}, "1" }, "fabric port", StateBad},
		{"loose everywhere", func(e *Environment) {
			e.Fabric, e.Netdevs[1].RPFilter, e.Sysctls["net.ipv4.conf.all.rp_filter"] = []string{"fab0"}, "1", "2"
		}, "fabric port", StateGood},
		{"mid-stream flows are refused", func(e *Environment) { e.Sysctls["net.netfilter.nf_conntrack_tcp_loose"] = "0" }, "net.netfilter.nf_conntrack_tcp_loose", StateWarning},
		{"mid-stream flows are refused to filters", func(e *Environment) {
			e.SkipHW, e.Sysctls["net.netfilter.nf_conntrack_tcp_loose"] = true, "0"
		}, "net.netfilter.nf_conntrack_tcp_loose", StateBad},
		{"filters without flower", func(e *Environment) { e.SkipHW = true }, Flower, StateWarning},
		{"no kfunc", func(e *Environment) { e.Features[CtLookup] = Finding{hwabstraction.No, "no BTF"} }, CtLookup, StateWarning},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := recorded(t, "veth-tcx")
			tt.change(&e)
			for _, c := range Diagnose(e) {
				if c.Name == tt.check {
					if c.State != tt.want {
						t.Errorf("%+v, want %s", c, tt.want)
					}
					return
				}
			}
			t.Errorf("there is no check %s", tt.check)
		})
	}
}

func TestEnvironmentIsData(t *testing.T) {
	t.Parallel()
	want := recorded(t, "debian-6.1")
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Environment
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("through JSON and back (-want +got):\n%s", diff)
	}
	if err := json.Unmarshal([]byte(`{"features":{"tcx":{"answer":"perhaps"}}}`), &got); err == nil {
		t.Error("an answer that is none was read")
	}
}

func TestNoFightOverAPort(t *testing.T) {
	t.Parallel()
	e := recorded(t, "veth-tcx")
	e.Fabric = []string{"fab0"}
	if err := e.owned(); err != nil {
		t.Errorf("a free port: %v", err)
	}
	e.Netdevs[1].Master = "ovs-system"
	if err := e.owned(); err == nil || !strings.Contains(err.Error(), "ovs-vsctl del-port fab0") {
		t.Errorf("a port of Open vSwitch: %v", err)
	}
}

// TestOutcome: what a start would come to is told before there is one.
func TestOutcome(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		machine string
		change  func(*Environment)
		want    Want
		state   State
		found   string
	}{
		"a veth":            {"veth-tcx", func(*Environment) {}, Want{Fabric: []string{"fab0"}}, StateGood, "software: "},
		"switchdev refused": {"veth-tcx", func(*Environment) {}, Want{Backend: Switchdev, Fabric: []string{"fab0"}}, StateBad, "switchdev was asked for"},
		"Open vSwitch": {"veth-tcx", func(e *Environment) {
			e.Fabric, e.Netdevs[1].Master = []string{"fab0"}, "ovs-system"
		}, Want{Fabric: []string{"fab0"}}, StateBad, "port of Open vSwitch"},
		"no capability": {"no-net-admin", func(*Environment) {}, Want{}, StateBad, "CAP_NET_ADMIN is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := recorded(t, tt.machine)
			tt.change(&e)
			c := e.outcome(tt.want)
			if c.Name != "backend" || c.State != tt.state || !strings.Contains(c.Found, tt.found) {
				t.Errorf("%+v, want %s with %q", c, tt.state, tt.found)
			}
		})
	}
}
