package guard

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) { Main(m) }

func machine(more map[string]*fstest.MapFile) fstest.MapFS {
	symlink := func(to string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink} }
	m := fstest.MapFS{
		"proc/self/mountinfo": {Data: []byte("22 1 0:20 / / rw - ext4 /dev/vda rw\n30 22 0:4 net:[7] /run/netns/old rw - nsfs nsfs rw\n")},
		"proc/self/ns/net":    symlink("net:[1]"),
		"proc/10/comm":        {Data: []byte("sshd\n")},
		"proc/10/ns/net":      symlink("net:[1]"),
		"sys/class/net/lo":    {Mode: fs.ModeDir},
	}
	for name, f := range more {
		m[name] = f
	}
	return m
}

func TestLeft(t *testing.T) {
	t.Parallel()
	symlink := func(to string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink} }
	before, err := take(machine(nil))
	if err != nil {
		t.Fatal(err)
	}
	now, err := take(machine(map[string]*fstest.MapFile{
		"proc/self/mountinfo":    {Data: []byte("30 22 0:4 net:[7] /run/netns/old rw - nsfs nsfs rw\n31 22 0:5 / /tmp/T1/bpf rw shared:9 - bpf bpf rw\n")},
		"proc/11/comm":           {Data: []byte("dpmip-agent\n")},
		"proc/11/ns/net":         symlink("net:[8]"),
		"proc/11/fd/3":           symlink("net:[8]"),
		"proc/11/fd/4":           symlink("net:[9]"),
		"proc/11/fd/5":           symlink("socket:[9]"),
		"proc/12/comm":           {Data: []byte("sleep\n")},
		"proc/12/ns/net":         symlink("net:[1]"),
		"sys/class/net/dpmip-h1": {Mode: fs.ModeDir},
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"network namespace: net:[8] of dpmip-agent (11)",
		"network namespace: net:[9] of dpmip-agent (11)",
		"mount: bpf on /tmp/T1/bpf",
		"netdev: dpmip-h1",
		"process: dpmip-agent (11)",
	}
	if diff := cmp.Diff(want, Left(before, now)); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
	if left := Left(now, now); left != nil {
		t.Errorf("nothing has changed, yet left over: %v", left)
	}
}

// TestThisMachine looks at the real machine, where at least the loopback is.
func TestThisMachine(t *testing.T) {
	t.Parallel()
	s, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	if left := Left(Snapshot{}, s); len(left) == 0 {
		t.Error("nothing was found on this machine, not even a loopback")
	}
}
