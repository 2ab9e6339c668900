package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// inside marks the test process that has namespaces of its own.
const inside = "DPMIP_AGENT_TEST_INSIDE"

// TestMain runs the tests in a network and a mount namespace of their own:
// links, routes, programs and pins are gone with the process.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		os.Exit(code)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// network gives the namespace a hypervisor's links: a fabric port, two VM
// ports, and the locators of hypervisor and management node.
func network(t *testing.T) {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Skip("namespaces need root")
	}
	t.Cleanup(func() {
		for _, name := range []string{"eth0", "vp-vm1", "vp-vm2"} {
			_ = exec.Command("ip", "link", "delete", name).Run()
		}
	})
	for _, line := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "eth0", "type", "veth", "peer", "name", "fabric"},
		{"link", "add", "vp-vm1", "type", "veth", "peer", "name", "guest1"},
		{"link", "add", "vp-vm2", "type", "veth", "peer", "name", "guest2"},
		{"link", "set", "eth0", "up"}, {"link", "set", "fabric", "up"},
		{"link", "set", "vp-vm1", "up"}, {"link", "set", "guest1", "up"},
		{"link", "set", "vp-vm2", "up"}, {"link", "set", "guest2", "up"},
		{"address", "replace", "2001:db8:ff::1/128", "dev", "lo", "nodad"},
		{"address", "replace", "2001:db8:0:a::a/128", "dev", "lo", "nodad"},
		{"address", "replace", "10.0.10.10/32", "dev", "lo"},
		{"address", "replace", "2001:db8:0:a::1/64", "dev", "eth0", "nodad"},
		{"-6", "route", "add", "default", "via", "2001:db8:0:a::2", "dev", "eth0"},
	} {
		if out, err := exec.Command("ip", line...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", line, err, out)
		}
	}
}
