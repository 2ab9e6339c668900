package modules

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// compressed is MODULE_INIT_COMPRESSED_FILE of linux/module.h: the kernel
// unpacks by itself (CONFIG_MODULE_DECOMPRESS).
const compressed = 4

// List reads a list file: a module's file a line, below the list's folder, in
// the order of loading; "#" begins a comment.
func List(r io.Reader) ([]string, error) {
	var out []string
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out, sc.Err()
}

// Load loads the modules of dir/list, each once; one that is loaded already is
// fine. It goes on after a failure, and returns how many were loaded and all
// errors. Without a list there is nothing to do.
func Load(dir, list string) (int, error) {
	f, err := os.Open(filepath.Join(dir, list))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("modules: %w", err)
	}
	defer f.Close()
	files, err := List(f)
	if err != nil {
		return 0, fmt.Errorf("modules: %s: %w", list, err)
	}
	n := 0
	var errs []error
	for _, file := range files {
		if err := Insert(filepath.Join(dir, file), ""); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

// Insert loads one module file with parameters, as modprobe would.
func Insert(file, params string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("modules: %w", err)
	}
	defer f.Close()
	flags := 0
	if filepath.Ext(file) != ".ko" {
		flags = compressed
	}
	if err := unix.FinitModule(int(f.Fd()), params, flags); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("modules: %s: %w", filepath.Base(file), err)
	}
	return nil
}
