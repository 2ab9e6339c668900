package scenario

import "testing"

func TestPathsIn(t *testing.T) {
	t.Parallel()
	fast, slow := pathsIn([]string{
		`# HELP dpmip_agent_vm_packets_total Packets of a VM's present rules, by path.`,
		`dpmip_agent_vm_packets_total{path="fast",vm="vm1@dc1.example"} 1200`,
		`dpmip_agent_vm_packets_total{path="slow",vm="vm1@dc1.example"} 7`,
		`dpmip_agent_vm_packets_total{path="fast",vm="vm2@dc1.example"} 1.5e+06`,
		`dpmip_agent_vms{role="serving"} 3`,
	})
	if fast != 1_501_200 || slow != 7 {
		t.Errorf("fast %d, slow %d; want 1501200 and 7", fast, slow)
	}
}
