package haltest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// vmPorts is how many VMs a namespace rig has.
const vmPorts = 2

var rigs atomic.Uint64 // numbers the rigs of a process; MACs are made of it

// NewNamespaceRig builds a hypervisor of network namespaces and opens a device
// in it: a fabric port whose far end lies in a namespace of its own, and VM
// ports, each with a VM's namespace behind it. All namespaces are anonymous and
// gone with the test, also when the process is killed. The far ends have no
// addresses and say nothing by themselves. It needs root.
func NewNamespaceRig(t *testing.T, open func(Env) (hwabstraction.Device, error)) Rig {
	t.Helper()
	w := newWire(t)
	env := w.environment(t)
	var dev hwabstraction.Device
	start := func(t testing.TB) hwabstraction.Device {
		t.Helper()
		d, err := open(env)
		if err != nil {
			t.Fatalf("open the device: %v", err)
		}
		t.Cleanup(func() { d.Close() })
		dev = d
		return d
	}
	start(t)
	return Rig{Device: dev, World: w, Reopen: start}
}

// environment mounts the bpf file system and describes the namespace.
func (w *wire) environment(t *testing.T) Env {
	t.Helper()
	dir := t.TempDir()
	bpffs := filepath.Join(dir, "bpf")
	if err := os.Mkdir(bpffs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		t.Fatalf("mount bpffs on %s: %v", bpffs, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(bpffs, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", bpffs, err)
		}
	})
	e := Env{NetNS: w.hv.fd(), Fabric: w.fabric.Name, StateDir: dir, BPFFS: bpffs, Do: w.hv.do}
	for _, p := range w.vms {
		e.VMPorts = append(e.VMPorts, p.Name)
	}
	return e
}

// space is an anonymous network namespace.
type space struct {
	ns netns.NsHandle
	nl *netlink.Handle
}

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{}
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		s.ns, err = netns.GetFromPath(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return err
	})
	if err != nil {
		t.Fatalf("new network namespace (needs root): %v", err)
	}
	if s.nl, err = netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE); err != nil {
		t.Fatalf("netlink in the new namespace: %v", err)
	}
	t.Cleanup(func() { s.nl.Close(); s.ns.Close() })
	return s
}

func (s *space) fd() int { return int(s.ns) }

// do runs f on a thread inside the namespace.
func (s *space) do(f func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(s.ns); err != nil {
			return fmt.Errorf("enter the namespace: %w", err)
		}
		return f()
	})
}

// onOwnThread runs f on a thread that ends afterwards, so that no other
// goroutine ever runs in the namespace f has gone to.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// sysctl writes kernel parameters below /proc/sys/net inside the namespace.
func (s *space) sysctl(t testing.TB, values map[string]string) {
	t.Helper()
	err := s.do(func() error {
		for name, v := range values {
			if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(v), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("sysctl: %v", err)
	}
}

// veth makes a pair: name in s, "far" in the other namespace, both up. The far
// end is mute: no IPv6, no ARP.
func (s *space) veth(t testing.TB, name string, far *space, near, farMAC MAC) Port {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, net.HardwareAddr(near[:])
	err := s.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: "far", PeerHardwareAddr: net.HardwareAddr(farMAC[:]),
		PeerNamespace: netlink.NsFd(far.fd()),
	})
	if err != nil {
		t.Fatalf("veth %s: %v", name, err)
	}
	far.sysctl(t, map[string]string{"ipv6/conf/far/disable_ipv6": "1"})
	s.sysctl(t, map[string]string{
		"ipv6/conf/" + name + "/accept_dad": "0", "ipv6/conf/" + name + "/accept_ra": "0",
		"ipv4/conf/" + name + "/rp_filter": "0",
	})
	for _, end := range []struct {
		nl   *netlink.Handle
		name string
	}{{s.nl, name}, {far.nl, "far"}} {
		l, err := end.nl.LinkByName(end.name)
		if err == nil {
			err = end.nl.LinkSetUp(l)
		}
		if err != nil {
			t.Fatalf("veth %s: %s: %v", name, end.name, err)
		}
	}
	if err := s.do(func() error { return plainChecksums(name) }); err != nil {
		t.Fatal(err)
	}
	return Port{Name: name, MAC: near, Far: farMAC}
}
