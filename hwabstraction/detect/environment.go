package detect

import (
	"encoding/json"
	"fmt"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Kernel features that are probed.
const (
	BPF       = "bpf"       // programs of type sched_cls
	TCX       = "tcx"       // attached by links (Linux 6.6)
	ClsBPF    = "cls_bpf"   // attached by clsact and a filter
	IFB       = "ifb"       // holds need it
	TBF       = "tbf"       // holds need it
	BTF       = "btf"       // the kernel's own types
	CtLookup  = "ct_lookup" // the kfunc bpf_skb_ct_lookup
	NFTables  = "nf_tables"
	Conntrack = "nf_conntrack"

	Flower    = "flower"     // the classifier; the actions of its filters:
	ActCt     = "act_ct"     // conntrack
	ActPedit  = "act_pedit"  // rewriting
	ActCsum   = "act_csum"   // checksums
	ActMirred = "act_mirred" // out of a port
	ActGact   = "act_gact"   // drop, and on to another chain
)

// fastPath are the features that the switchdev backend cannot be without.
var fastPath = []string{Flower, ActCt, ActPedit, ActCsum, ActMirred, ActGact, ClsBPF}

// Finding is the answer of one probe and how it was come by.
type Finding struct {
	Answer hwabstraction.Answer
	Reason string
}

// wireFinding is a Finding in JSON: the answer by name.
type wireFinding struct {
	Answer string `json:"answer"`
	Reason string `json:"reason,omitempty"`
}

// MarshalJSON writes the answer as "yes", "no" or "unknown".
func (f Finding) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireFinding{f.Answer.String(), f.Reason})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Finding) UnmarshalJSON(b []byte) error {
	var w wireFinding
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	for _, a := range []hwabstraction.Answer{hwabstraction.Unknown, hwabstraction.Yes, hwabstraction.No} {
		if a.String() == w.Answer {
			*f = Finding{a, w.Reason}
			return nil
		}
	}
	return fmt.Errorf("detect: answer %q: want yes, no or unknown", w.Answer)
}

// Netdev is a port as drivers describe it.
type Netdev struct {
	Name   string `json:"name"`
	Kind   string `json:"kind,omitempty"`   // "veth", "tun", ... ; "" = a device of its own
	Driver string `json:"driver,omitempty"` // ethtool
	Bus    string `json:"bus,omitempty"`    // ethtool; a PCI address where there is one
	MTU    int    `json:"mtu,omitempty"`
	// Master is the bridge, bond or virtual switch that the port has been given to.
	Master   string `json:"master,omitempty"`
	RPFilter string `json:"rp_filter,omitempty"` // net.ipv4.conf.NAME.rp_filter

	Index    int32  `json:"-"`
	SwitchID string `json:"switch_id,omitempty"` // phys_switch_id: the e-switch that it is a port of
	PortName string `json:"port_name,omitempty"` // phys_port_name, or made of what devlink tells; see Function
	// State of the function behind it, as devlink tells: "active", "inactive".
	State string `json:"state,omitempty"`
	// Offload is ethtool's hw-tc-offload: "on", "off", "off [fixed]".
	Offload string `json:"hw_tc_offload,omitempty"`
}

// Eswitch is an embedded switch that devlink knows.
type Eswitch struct {
	Device string `json:"device"` // a PCI address
	Mode   string `json:"mode"`   // "legacy", "switchdev", "" where devlink does not say
}

// Mount is a file system that matters: where, of which type ("" = nothing there).
type Mount struct {
	Path string `json:"path"`
	Type string `json:"type"`
}

// Environment is what Probe found out about a machine. It is plain data, the
// same in JSON.
type Environment struct {
	Kernel       string             `json:"kernel"`  // release, as uname tells
	Machine      string             `json:"machine"` // architecture
	Features     map[string]Finding `json:"features"`
	Capabilities map[string]Finding `json:"capabilities"` // of this process, effective
	Netdevs      []Netdev           `json:"netdevs,omitempty"`
	Eswitches    []Eswitch          `json:"eswitches,omitempty"`
	Fabric       []string           `json:"fabric,omitempty"`  // ports that the agent was given
	SkipHW       bool               `json:"skip_hw,omitempty"` // filters shall stay in the kernel
	Clock        *Clock             `json:"clock,omitempty"`
	Sysctls      map[string]string  `json:"sysctls"` // those that matter; absent = the kernel has none
	BPFDir       Mount              `json:"bpf_dir"`
	RegionDir    Mount              `json:"region_dir"`
	Memlock      uint64             `json:"memlock"` // RLIMIT_MEMLOCK in bytes; 1<<64-1 = unlimited
	HugeFree     int                `json:"huge_free"`
	HugeSize     int64              `json:"huge_size"` // bytes
}

// netdev finds a port of the agent's configuration: by what stands behind it,
// else by its interface's name.
func (e Environment) netdev(name string) (Netdev, bool) {
	d, ok, err := find(e.Netdevs, e.Fabric, name)
	return d, ok && err == nil
}
