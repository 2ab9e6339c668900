package packages

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func sorted(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// write copies an embedded file, with the unit's name put in, and gives its
// path.
func (in Input) write(from, name string, perm os.FileMode) (string, error) {
	b, err := files.ReadFile(from)
	if err != nil {
		return "", fmt.Errorf("packages: %w", err)
	}
	to := filepath.Join(in.Scratch, name)
	text := strings.ReplaceAll(string(b), "@UNIT@", in.Program.Name+".service")
	if err := os.WriteFile(to, []byte(text), perm); err != nil {
		return "", fmt.Errorf("packages: %w", err)
	}
	return to, nil
}

func (in Input) scripts() (string, error) {
	post, err := in.write("scripts/postinstall.sh", in.Program.Name+".postinstall", 0o755)
	if err != nil {
		return "", err
	}
	pre, err := in.write("scripts/preremove.sh", in.Program.Name+".preremove", 0o755)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("scripts:\n  postinstall: %q\n  preremove: %q\n", post, pre), nil
}

// header is everything but files. No host name, user or clock gets in.
func (in Input) header() string {
	t := time.Unix(in.Epoch, 0).UTC().Format(time.RFC3339)
	return fmt.Sprintf(`name: %q
arch: %q
platform: linux
version: %q
version_schema: none
section: net
priority: optional
maintainer: "dpmip maintainers <maintainers@dpmip.invalid>"
description: %q
mtime: %q
deb:
  compression: gzip
rpm:
  compression: gzip
  buildhost: dpmip
  packager: "dpmip maintainers <maintainers@dpmip.invalid>"
  group: System Environment/Daemons
`, in.Program.Name, in.Arch, in.Version, in.Program.Summary, t)
}

func contents(list []content, epoch int64) string {
	t := time.Unix(epoch, 0).UTC().Format(time.RFC3339)
	var b strings.Builder
	b.WriteString("contents:\n")
	for _, c := range list {
		fmt.Fprintf(&b, "  - src: %q\n    dst: %q\n", c.from, c.to)
		if c.kind != "" {
			fmt.Fprintf(&b, "    type: %q\n", c.kind)
		}
		fmt.Fprintf(&b, "    file_info: {mode: %#o, owner: root, group: root, mtime: %q}\n", c.mode, t)
	}
	return b.String()
}

// Make runs nfpm (its program) and gives the packages' paths below dir.
func Make(ctx context.Context, nfpm string, in Input, dir string) ([]string, error) {
	spec, err := in.Spec()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(in.Scratch, in.Program.Name+"-"+in.Arch+".yaml")
	if err := os.WriteFile(config, []byte(spec), 0o600); err != nil {
		return nil, fmt.Errorf("packages: %w", err)
	}
	var out []string
	for _, kind := range []string{"deb", "rpm"} {
		target := filepath.Join(dir, fmt.Sprintf("%s_%s_%s.%s", in.Program.Name, in.Version, in.Arch, kind))
		cmd := exec.CommandContext(ctx, nfpm, "package", "--config", config, "--packager", kind, "--target", target)
		cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", in.Epoch))
		if b, err := cmd.CombinedOutput(); err != nil {
			return out, fmt.Errorf("packages: %s %s: %w: %s", in.Program.Name, kind, err, b)
		}
		out = append(out, target)
	}
	return out, nil
}
