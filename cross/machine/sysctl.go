package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Sysctls are what every card needs: it forwards, its conntrack takes up flows
// in their middle, and reverse paths may differ while a VM moves.
var Sysctls = []string{
	"net.ipv4.ip_forward=1",
	"net.ipv6.conf.all.forwarding=1",
	"net.ipv4.conf.all.rp_filter=0",
	"net.ipv4.conf.default.rp_filter=0",
	"net.ipv4.conf.all.arp_accept=1",
	"net.ipv6.conf.all.accept_untracked_na=1",
	"net.netfilter.nf_conntrack_tcp_be_liberal=1",
	"net.netfilter.nf_conntrack_tcp_loose=1",
	"net.netfilter.nf_conntrack_max=262144",
	"net.core.rmem_max=16777216",
	"net.core.bpf_jit_enable=1",
	"kernel.panic=10",
}

// SetSysctls sets "name=value" below root (/proc/sys), going on after a
// failure. Dots in a name separate, as in sysctl(8); a "/" stays, for ports
// with dots in their names.
func SetSysctls(root string, list []string) error {
	var errs []error
	for _, s := range list {
		name, value, _ := strings.Cut(s, "=")
		name = strings.TrimSpace(name)
		if !strings.Contains(name, "/") {
			name = strings.ReplaceAll(name, ".", "/")
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(strings.TrimSpace(value)), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("machine: sysctl %s: %w", s, err))
		}
	}
	return errors.Join(errs...)
}
