// Command generated checks that committed generated files match their sources:
// it copies what git knows of the checkout into a temporary folder, runs
// scripts/generate.sh there, and lists what came out otherwise. It needs what
// make generate needs (clang, llvm-strip, protoc).
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	stale, err := run(ctx, ".", "sh", "scripts/generate.sh")
	stop()
	for _, name := range stale {
		fmt.Fprintln(os.Stderr, "generated file does not match its source:", name)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "generated:", err)
		os.Exit(2)
	case len(stale) > 0:
		fmt.Fprintln(os.Stderr, "run make generate and commit what it changes")
		os.Exit(1)
	}
}

// run generates in a copy of the checkout at root and returns the names that
// differ, are new, or are gone.
func run(ctx context.Context, root string, command ...string) (stale []string, err error) {
	names, err := tracked(ctx, root)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "dpmip-generated-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, name := range names {
		if err := copyFile(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
	}
	return compare(root, dir, names)
}

// tracked lists the files that git knows and that are there, below root.
func tracked(ctx context.Context, root string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "git", "-C", root, "ls-files", "-z")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	var names []string
	for name := range strings.SplitSeq(string(out), "\x00") {
		if name == "" {
			continue
		}
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

func copyFile(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, st.Mode().Perm())
}

// compare lists the known files that differ in dir, and new ones in folders
// that have known files. What git ignores (bin) is in no such folder.
func compare(root, dir string, names []string) (stale []string, err error) {
	known, folders := map[string]bool{}, map[string]bool{}
	for _, name := range names {
		known[name], folders[filepath.Dir(name)] = true, true
		a, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err != nil || !bytes.Equal(a, b) {
			stale = append(stale, name)
		}
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err == nil && !known[rel] && folders[filepath.Dir(rel)] {
			stale = append(stale, rel)
		}
		return err
	})
	return stale, err
}
