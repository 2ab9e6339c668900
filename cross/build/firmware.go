package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dpmip/dpmip/cross/bundle"
	"github.com/dpmip/dpmip/cross/cpio"
	"github.com/dpmip/dpmip/cross/image"
	"github.com/dpmip/dpmip/cross/modules"
)

// Programs of the card.
const (
	initProgram = "dpmip-init"
	agent       = "dpmip-agent"
	ctl         = "dpmipctl"
)

// firmware makes OUT/firmware: the image, and the same programs as a bundle.
func firmware(ctx context.Context, o *options) error {
	bin, err := compile(ctx, o, "arm64", initProgram, agent, ctl)
	if err != nil {
		return err
	}
	dir := filepath.Join(o.out, "firmware")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data := map[string][]byte{}
	for _, p := range []string{initProgram, agent, ctl} {
		if data[p], err = os.ReadFile(filepath.Join(bin, p)); err != nil {
			return err
		}
	}
	if err := o.image(dir, data); err != nil {
		return err
	}
	return o.bundle(dir, data)
}

func (o *options) image(dir string, data map[string][]byte) error {
	config, err := os.ReadFile("cmd/dpmip-init/example/init.toml")
	if err != nil {
		return err
	}
	a, err := image.Firmware{
		Init: data[initProgram], Programs: map[string][]byte{agent: data[agent], ctl: data[ctl]},
		Config: map[string][]byte{"init.toml.example": config}, Release: o.release,
	}.Archive()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "dpmip-initramfs.img")
	size, err := writeArchive(file, a)
	if err != nil {
		return err
	}
	if size > image.MaxSize {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", file, size, image.MaxSize)
	}
	fmt.Printf("%s: %d bytes\n", file, size)
	return nil
}

func writeArchive(file string, a *cpio.Archive) (int, error) {
	var b bytes.Buffer
	if err := image.Write(&b, a); err != nil {
		return 0, err
	}
	return b.Len(), os.WriteFile(file, b.Bytes(), 0o644)
}

func (o *options) bundle(dir string, data map[string][]byte) error {
	key, err := o.signer()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	err = bundle.Pack(&b, bundle.Manifest{
		Version: o.version, Fuse: o.fuse, Release: o.release, Arch: "arm64",
		Files: []bundle.File{{Name: agent, Mode: 0o755, Data: data[agent]}, {Name: ctl, Mode: 0o755, Data: data[ctl]}},
	}, key)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "dpmip-firmware.bundle")
	fmt.Printf("%s: %d bytes, version %d\n", file, b.Len(), o.version)
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// kernelModules makes KERNEL/modules.img of the modules that a card needs.
func kernelModules(ctx context.Context, o *options) error {
	rel, err := os.ReadFile(filepath.Join(o.kernel, "release"))
	if err != nil {
		return err
	}
	root := filepath.Join(o.kernel, "modules", strings.TrimSpace(string(rel)))
	builtin, err := os.ReadFile(filepath.Join(root, "modules.builtin"))
	if err != nil {
		return err
	}
	f, err := os.Open(o.list)
	if err != nil {
		return err
	}
	defer f.Close()
	wanted, err := modules.List(f)
	if err != nil {
		return err
	}
	list, err := modules.Resolve(os.DirFS(root), string(builtin), unxz(ctx), wanted)
	if err != nil {
		return err
	}
	a, err := image.Modules(list)
	if err != nil {
		return err
	}
	file := filepath.Join(o.kernel, "modules.img")
	size, err := writeArchive(file, a)
	fmt.Printf("%s: %d modules, %d bytes\n", file, len(list), size)
	return err
}

// unxz unpacks modules with the tools of xz and zstd.
func unxz(ctx context.Context) modules.Decompress {
	return func(file string, packed []byte) ([]byte, error) {
		var tool string
		switch filepath.Ext(file) {
		case ".xz":
			tool = "xz"
		case ".zst":
			tool = "zstd"
		default:
			return packed, nil
		}
		cmd := exec.CommandContext(ctx, tool, "-dc")
		cmd.Stdin = bytes.NewReader(packed)
		return cmd.Output()
	}
}
