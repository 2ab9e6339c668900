package machine

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/internal/strictconf"
)

func TestConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`sysctls = ["net.ipv4.ip_forward"]`:        "init.toml:1: sysctls[0]",
		`sysctls = ["../../etc/passwd=1"]`:         "init.toml:1: sysctls[0]",
		"[[route]]\nto = \"10.0.0.0/8\"":           "route[0]",
		"[[route]]\ndevice = \"eth0\"":             "route[0].to",
		"[update]\ntries = 0":                      "init.toml:2: update.tries",
		"[update]\ndeadline = \"1s\"":              "init.toml:2: update.deadline",
		"[watchdog]\ntimeout = \"1s\"":             "init.toml:2: watchdog.timeout",
		"[memory]\nhuge_pages = -1":                "init.toml:2: memory.huge_pages",
		"colour = \"red\"":                         "init.toml:1: colour: unknown key",
		"[[link]]\naddresses = [\"192.0.2.1/24\"]": "link[0].name: missing",
	} {
		var c Config
		if _, err := strictconf.Parse("init.toml", []byte(text), &c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}

// ext4 writes what label reads.
func ext4(t *testing.T, path, name string, magic uint16) {
	t.Helper()
	b := make([]byte, 4096)
	binary.LittleEndian.PutUint16(b[1024+0x38:], magic)
	copy(b[1024+0x78:], name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFindByLabel(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	for _, name := range []string{"sda", "sdb", "sdc", "sdd", "gone"} {
		if err := os.WriteFile(filepath.Join(sys, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := find(sys, dev, Label); !errors.Is(err, ErrNoPartition) {
		t.Errorf("err = %v", err)
	}
	ext4(t, filepath.Join(dev, "sda"), "rootfs", 0xef53)
	ext4(t, filepath.Join(dev, "sdb"), Label, 0x1234)
	ext4(t, filepath.Join(dev, "sdc"), Label, 0xef53)
	if err := os.WriteFile(filepath.Join(dev, "sdd"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := find(sys, dev, Label); err != nil || got != filepath.Join(dev, "sdc") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestRealFileSystem reads the label that mke2fs has written.
func TestRealFileSystem(t *testing.T) {
	tool, err := exec.LookPath("mke2fs")
	if err != nil {
		tool = "/sbin/mke2fs" // Debian's e2fsprogs is essential, but not on every PATH
	}
	path := filepath.Join(t.TempDir(), "img")
	if out, err := exec.Command(tool, "-q", "-t", "ext4", "-L", Label, path, "2M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := label(f); got != Label {
		t.Errorf("%q", got)
	}
}

func TestSysctls(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv4/conf/eth0.100/rp_filter"} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("0"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	// A folder that is not there stands for a module that is not loaded.
	err := SetSysctls(root, []string{"net.gone.x=1", "net.ipv4.ip_forward = 1", "net/ipv4/conf/eth0.100/rp_filter=2"})
	if err == nil || !strings.Contains(err.Error(), "net.gone.x=1") || strings.Contains(err.Error(), "ip_forward") {
		t.Errorf("err = %v", err)
	}
	var got []string
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv4/conf/eth0.100/rp_filter"} {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b))
	}
	if d := cmp.Diff([]string{"1", "2"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestNetwork programs a namespace of its own, on a thread that is thrown away.
func TestNetwork(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test needs root to make a network namespace")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		network(t)
	}()
	<-done
}

func network(t *testing.T) {
	var c Config
	text := `
[[link]]
name = "fab0"
peer = "fab1"
mtu = 1400
addresses = ["2001:db8:1::a/64", "192.0.2.10/24"]
[[route]]
via = "2001:db8:1::1"
[[route]]
to = "198.51.100.0/24"
via = "192.0.2.1"
`
	if _, err := strictconf.Parse("init.toml", []byte(text), &c); err != nil {
		t.Error(err)
		return
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Error(err)
		return
	}
	defer h.Close()
	for range 2 { // the second time everything is there already
		if err := SetNetwork(h, c.Links, c.Routes); err != nil {
			t.Error(err)
		}
	}
	link, err := h.LinkByName("fab0")
	if err != nil {
		t.Error(err)
		return
	}
	addrs, err := h.AddrList(link, netlink.FAMILY_V4)
	if err != nil || len(addrs) != 1 || addrs[0].IPNet.String() != "192.0.2.10/24" || link.Attrs().MTU != 1400 {
		t.Errorf("%v, %v, mtu %d", addrs, err, link.Attrs().MTU)
	}
	routes, err := h.RouteGet([]byte{198, 51, 100, 9})
	if err != nil || len(routes) != 1 || routes[0].Gw.String() != "192.0.2.1" {
		t.Errorf("%v, %v", routes, err)
	}
	err = SetNetwork(h, []Link{{Name: "none"}}, []Route{{Via: strictconf.Addr{Addr: c.Routes[0].Via.Addr}}})
	if err == nil || !strings.Contains(err.Error(), "link none") {
		t.Errorf("err = %v", err)
	}
}
