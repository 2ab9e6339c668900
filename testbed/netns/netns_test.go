package netns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("NETNS_TEST_CHILD") != "" {
		child()
	}
	if dir := os.Getenv("NETNS_TEST_EXEC"); dir != "" {
		panic(Live{Dir: dir}.Exec("a", "/bin/readlink", []string{"/proc/self/ns/net"}, os.Environ()))
	}
	goleak.VerifyTestMain(m)
}

// child is the killed run of TestSweepAfterKill: it reports its directory and
// its process, then dies without any clean-up.
func child() {
	s, err := Open(os.Getenv("NETNS_TEST_CHILD"), "kill")
	if err != nil {
		panic(err)
	}
	n, err := s.Create("a")
	if err != nil {
		panic(err)
	}
	if _, err := s.MountBPF("a/bpf"); err != nil {
		panic(err)
	}
	if _, err := n.Start(exec.Command("sleep", "1000")); err != nil {
		panic(err)
	}
	os.Stdout.WriteString(s.Dir() + "\n")
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func open(t *testing.T) (*Set, string) {
	t.Helper()
	base := t.TempDir()
	s, err := Open(base, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		assertNothingBelow(t, base)
	})
	return s, base
}

func assertNothingBelow(t *testing.T, base string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(base, "[^.]*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	if m, err := mountsBelow(base); err != nil || len(m) != 0 {
		t.Errorf("still mounted: %v (%v)", m, err)
	}
}

func create(t *testing.T, s *Set, name string) *NS {
	t.Helper()
	n, err := s.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestVethCarriesTCPBetweenNamespaces(t *testing.T) {
	s, _ := open(t)
	a, b := create(t, s, "a"), create(t, s, "")
	if err := Veth(End{NS: a, Name: "x0"}, End{NS: b, Name: "y0"}, 0); err != nil {
		t.Fatal(err)
	}
	for n, p := range map[*NS]string{a: "10.9.0.1/24", b: "10.9.0.2/24"} {
		if err := n.AddAddr(map[*NS]string{a: "x0", b: "y0"}[n], netip.MustParsePrefix(p)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := a.Listen(context.Background(), "tcp", "10.9.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := b.DialContext(t.Context(), "tcp", "10.9.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, want := c.LocalAddr().(*net.TCPAddr).IP.String(), "10.9.0.2"; got != want {
		t.Errorf("local address %s, want %s", got, want)
	}
	if host, err := os.ReadFile("/proc/self/net/dev"); err != nil || strings.Contains(string(host), "x0:") {
		t.Errorf("the host sees the lab's link (%v)", err)
	}
}

func TestDoGoesBackAfterPanic(t *testing.T) {
	s, _ := open(t)
	n := create(t, s, "a")
	before, _ := os.Readlink("/proc/thread-self/ns/net")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = n.Do(func() error { panic("test") })
	}()
	if after, _ := os.Readlink("/proc/thread-self/ns/net"); after != before {
		t.Errorf("thread is in %s, want %s", after, before)
	}
	if err := n.Sysctl("net.ipv4.ip_forward", "1"); err != nil {
		t.Error(err)
	}
	if err := n.Sysctl("net.ipv4.no_such_key", "1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unknown sysctl: err = %v", err)
	}
}

func TestProcessRunsInsideAndEndsWithTheSet(t *testing.T) {
	s, _ := open(t)
	n := create(t, s, "a")
	out, log := &strings.Builder{}, filepath.Join(s.Dir(), "log")
	cmd := exec.Command("readlink", "/proc/self/ns/net")
	cmd.Stdout = out
	if err := n.Run(cmd); err != nil {
		t.Fatal(err)
	}
	var want string
	_ = n.Do(func() error { want, _ = os.Readlink("/proc/thread-self/ns/net"); return nil })
	if got := strings.TrimSpace(out.String()); got != want {
		t.Errorf("child ran in %s, want %s", got, want)
	}
	// A grandchild that left the process group must go as well.
	p, err := n.Start(exec.Command("sh", "-c", "setsid sleep 1000 & echo $! >"+log+"; wait"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("the process outlived its set")
	}
}

func TestSweepAfterKill(t *testing.T) {
	base := t.TempDir()
	live, err := Open(base, "kill")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NETNS_TEST_CHILD="+base)
	out, err := cmd.Output()
	dir := strings.TrimSpace(string(out))
	if err == nil || !strings.HasPrefix(dir, base) {
		t.Fatalf("child: %v, said %q", err, dir)
	}
	if m, _ := mountsBelow(dir); len(m) != 2 {
		t.Fatalf("the killed run left %v, want its namespace and its bpffs", m)
	}
	removed, err := Sweep(base, "kill")
	if err != nil || len(removed) != 1 || removed[0] != dir {
		t.Fatalf("Sweep = %v, %v; want %s alone", removed, err, dir)
	}
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	assertNothingBelow(t, base)
}
