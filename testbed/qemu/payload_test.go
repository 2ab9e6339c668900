package qemu

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/cross/cpio"
	"github.com/dpmip/dpmip/cross/modules"
)

// testbedPrograms are what the lab runs in the guest, beside the agent and
// dpmipctl, which are the image's own.
var testbedPrograms = []string{"../../cmd/dpmip-lab", "../../cmd/dpmip-mgmt", "../../cmd/dpmip-router"}

// testbedTests are the packages whose tests run in the guest.
var testbedTests = []string{
	"../../agent/bul",
	"../../hwabstraction/detect",
	"../../hwabstraction/nicmem",
	"../../hwabstraction/software",
	"../../hwabstraction/switchdev/flower",
	"../../hwabstraction/switchdev/tc",
	"../faults",
}

// crossTests builds test binaries for the guest and gives the folder they are in.
func crossTests(t *testing.T, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", append([]string{"test", "-c", "-trimpath", "-ldflags", "-s -w", "-o", dir + "/"}, packages...)...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return dir
}

// bench is what every testbed's payload is made of.
type bench struct {
	*testing.T
	a *cpio.Archive
}

func newBench(t *testing.T, steps []Step, more ...string) *bench {
	t.Helper()
	b := &bench{T: t, a: &cpio.Archive{}}
	b.add("config/init.toml", 0o600, read(t, "testdata/testbed.toml"))
	b.add("payload/run", 0o755, read(t, filepath.Join(arm64(t, "./guest"), "guest")))
	b.add("payload/scenario", 0o644, []byte("steps"))
	list, err := WriteSteps(steps)
	if err != nil {
		t.Fatal(err)
	}
	b.add(strings.TrimPrefix(StepFile, "/"), 0o644, list)
	for _, program := range []string{"dpmip-agent", "dpmipctl"} {
		if err := b.a.Link("payload/bin/"+program, "/usr/bin/"+program); err != nil {
			t.Fatal(err)
		}
	}
	b.modules(more)
	return b
}

func (b *bench) add(name string, perm uint32, data []byte) {
	b.Helper()
	if err := b.a.File(name, perm, data); err != nil {
		b.Fatal(err)
	}
}

// folder adds every file of a folder, also below it.
func (b *bench) folder(to, from string) {
	b.Helper()
	err := fs.WalkDir(os.DirFS(from), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b.add(filepath.Join(to, name), 0o755, read(b.T, filepath.Join(from, name)))
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// modules adds the kernel modules of testdata/modules.txt, in order; with what
// netdevsim needs, that too.
func (b *bench) modules(more []string) {
	b.Helper()
	release := strings.TrimSpace(string(read(b.T, filepath.Join(out, "kernel/release"))))
	root := filepath.Join(out, "kernel/modules", release)
	wanted, err := modules.List(bytes.NewReader(read(b.T, "testdata/modules.txt")))
	if err != nil {
		b.Fatal(err)
	}
	wanted = append(wanted, more...)
	builtin := string(read(b.T, filepath.Join(root, "modules.builtin")))
	list, err := modules.Resolve(os.DirFS(root), builtin, unxz(b.Context()), wanted)
	if err != nil {
		b.Fatal(err)
	}
	var order strings.Builder
	for _, m := range list {
		order.WriteString(m.Name + ".ko\n")
		b.add("payload/modules/"+m.Name+".ko", 0o644, m.Image)
	}
	if len(more) > 0 {
		order.WriteString("netdevsim.ko\n")
		b.add("payload/modules/netdevsim.ko", 0o644, read(b.T, filepath.Join(out, "kernel/netdevsim.ko")))
	}
	b.add("payload/modules/list", 0o644, []byte(order.String()))
}

func unxz(ctx context.Context) modules.Decompress {
	return func(_ string, packed []byte) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "xz", "-dc")
		cmd.Stdin = bytes.NewReader(packed)
		return cmd.Output()
	}
}

// image writes the second initrd. It is not compressed: the guest would spend
// more time on unpacking it than on reading it.
func (b *bench) image() string {
	b.Helper()
	file := filepath.Join(b.TempDir(), "payload.img")
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := b.a.WriteTo(f); err != nil {
		b.Fatal(err)
	}
	return file
}
