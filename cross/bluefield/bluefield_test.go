package bluefield

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// file writes one of the shipped files and gives its path.
func file(t *testing.T, name string) string {
	t.Helper()
	b, err := File(name, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "@VERSION@") {
		t.Errorf("%s: the version was not put in", name)
	}
	to := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestShellsReadThem(t *testing.T) {
	for _, cmd := range [][]string{{"bash", "-n", file(t, "bf.cfg")}, {"sh", "-n", file(t, "build-bfb.sh")}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v: %s", cmd, err, out)
		}
	}
}

// write makes a file with its folders.
func write(t *testing.T, name, text string, perm os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), perm); err != nil {
		t.Fatal(err)
	}
}

// deb builds a package like ours, with scripts like ours, by Debian's own tool.
func deb(t *testing.T, to string) {
	t.Helper()
	tree := t.TempDir()
	post, err := os.ReadFile("../packages/scripts/postinstall.sh")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tree, "DEBIAN/control"), "Package: dpmip-agent\nVersion: 1.2.3\nArchitecture: arm64\nMaintainer: x <x@y.invalid>\nDescription: x\n", 0o644)
	write(t, filepath.Join(tree, "DEBIAN/postinst"), strings.ReplaceAll(string(post), "@UNIT@", "dpmip-agent.service"), 0o755)
	write(t, filepath.Join(tree, "DEBIAN/conffiles"), "/etc/dpmip/agent.toml\n", 0o644)
	write(t, filepath.Join(tree, "etc/dpmip/agent.toml"), "name = \"example\"\n", 0o600)
	write(t, filepath.Join(tree, "usr/bin/dpmip-agent"), "program\n", 0o755)
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", tree, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// install runs bfb_modify_os as the installer does, into a root of the test's
// own, and gives what it prints and the root.
func install(t *testing.T, dir string, env ...string) (said, root string) {
	t.Helper()
	root = t.TempDir()
	write(t, filepath.Join(root, "var/lib/dpkg/status"), "", 0o644)
	write(t, filepath.Join(root, "var/lib/dpkg/info/format"), "1\n", 0o644)
	if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg/updates"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-c", ". "+file(t, "bf.cfg")+"; bfb_modify_os")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH") + ":/sbin:/usr/sbin", "DPMIP_ROOT=" + root, "DPMIP_DIR=" + dir}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out), root
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestInstallsIntoTheTarget(t *testing.T) {
	dir := t.TempDir()
	deb(t, filepath.Join(dir, "dpmip-agent.deb"))
	write(t, filepath.Join(dir, "agent.toml"), "name = \"dpu-a\"\n", 0o600)
	said, root := install(t, dir)
	if !strings.Contains(said, "installed, starts with the system") {
		t.Errorf("it said: %s", said)
	}
	if got := read(t, filepath.Join(root, "usr/bin/dpmip-agent")); got != "program\n" {
		t.Errorf("%q", got)
	}
	if got := read(t, filepath.Join(root, "etc/dpmip/agent.toml")); got != "name = \"dpu-a\"\n" {
		t.Errorf("%q", got)
	}
	if !strings.Contains(read(t, filepath.Join(root, "var/lib/dpkg/status")), "Status: install ok installed") {
		t.Error("dpkg does not hold it for installed")
	}
	link, err := os.Readlink(filepath.Join(root, "etc/systemd/system/multi-user.target.wants/dpmip-agent.service"))
	if err != nil || link != "/usr/lib/systemd/system/dpmip-agent.service" {
		t.Errorf("%q, %v", link, err)
	}
}

func TestWithoutConfigurationItDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	deb(t, filepath.Join(dir, "dpmip-agent.deb"))
	said, root := install(t, dir)
	if !strings.Contains(said, "no agent.toml") {
		t.Errorf("it said: %s", said)
	}
	if _, err := os.Lstat(filepath.Join(root, "etc/systemd/system/multi-user.target.wants/dpmip-agent.service")); err == nil {
		t.Error("it starts with an example for its configuration")
	}
}

// TestTroubleLeavesTheCardItsSystem: whatever goes wrong, the installer goes on.
func TestTroubleLeavesTheCardItsSystem(t *testing.T) {
	bad := t.TempDir()
	write(t, filepath.Join(bad, "dpmip-agent.deb"), "torn", 0o644)
	good := filepath.Join(t.TempDir(), "x.deb")
	deb(t, good)
	for name, tt := range map[string]struct {
		dir  string
		env  []string
		want string
	}{
		"no package":   {t.TempDir(), nil, "ERROR: no package"},
		"torn package": {bad, nil, "was not installed"},
		"wrong sum":    {t.TempDir(), []string{"DPMIP_URL=file://" + good, "DPMIP_SHA256=" + strings.Repeat("0", 64)}, "not what was promised"},
		"no such file": {t.TempDir(), []string{"DPMIP_URL=file:///none", "DPMIP_SHA256=" + strings.Repeat("0", 64)}, "could not be fetched"},
	} {
		t.Run(name, func(t *testing.T) {
			said, _ := install(t, tt.dir, tt.env...)
			if !strings.Contains(said, tt.want) || !strings.Contains(said, "the card gets its system without dpmip-agent") {
				t.Errorf("it said: %s", said)
			}
		})
	}
}

// TestBuildBFB runs the fragment with a stand-in for NVIDIA's tool that keeps a
// BFB as a folder of its parts.
func TestBuildBFB(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	write(t, filepath.Join(bin, "mlx-mkbfb"), `#!/bin/sh
case $1 in
-x) cp "$2" dump-initramfs-v0 ;;
--initramfs) cp "$2" "$4" ;;
*) exit 1 ;;
esac
`, 0o755)
	write(t, filepath.Join(dir, "in.bfb"), "12345", 0o644)
	write(t, filepath.Join(dir, "a.deb"), "the package", 0o644)
	cmd := exec.Command("sh", file(t, "build-bfb.sh"), "in.bfb", "out.bfb", "a.deb")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := read(t, filepath.Join(dir, "out.bfb"))
	if !strings.HasPrefix(got, "12345\x00\x00\x00070701") || !strings.Contains(got, "dpmip/dpmip-agent.deb") || !strings.Contains(got, "the package") {
		t.Errorf("%.80q", got)
	}
}
