package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dpmip/dpmip/cross/bluefield"
	"github.com/dpmip/dpmip/cross/bundle"
	"github.com/dpmip/dpmip/cross/oci"
	pkg "github.com/dpmip/dpmip/cross/packages"
	"github.com/dpmip/dpmip/cross/sbom"
)

// combined runs a program and gives all it prints.
func combined(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), clean...)
	b, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(b)), err
}

// release makes everything and gathers it in OUT/release, each artefact with its
// SBOM, all with their checksums.
func release(ctx context.Context, o *options) error {
	if err := firmware(ctx, o); err != nil {
		return err
	}
	all, err := o.packages(ctx)
	if err != nil {
		return err
	}
	bin := filepath.Join(o.out, "bin", "arm64")
	in := func(names ...string) []string {
		for i, n := range names {
			names[i] = filepath.Join(bin, n)
		}
		return names
	}
	dir := filepath.Join(o.out, "release")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	version := pkg.Version(o.release)
	image := filepath.Join(o.out, fmt.Sprintf("dpmip-agent_%s_arm64.oci.tar", version))
	if err := o.container(image, bin); err != nil {
		return err
	}
	all = append(all,
		made{filepath.Join(o.out, "firmware", "dpmip-initramfs.img"), in(initProgram, agent, ctl)},
		made{filepath.Join(o.out, "firmware", "dpmip-firmware.bundle"), in(agent, ctl)},
		made{image, in(agent, ctl)})
	for _, m := range all {
		if err := gather(dir, m, version); err != nil {
			return err
		}
	}
	if err := o.cardFiles(dir, version); err != nil {
		return err
	}
	return sums(dir)
}

// container writes the agent's image.
func (o *options) container(file, bin string) error {
	programs := map[string][]byte{}
	for _, name := range []string{agent, ctl} {
		b, err := os.ReadFile(filepath.Join(bin, name))
		if err != nil {
			return err
		}
		programs["/usr/bin/"+name] = b
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = oci.Image{
		Name: "localhost/dpmip-agent:" + tag(pkg.Version(o.release)), Arch: "arm64", Release: o.release, Epoch: o.epoch, Programs: programs,
		Files:      map[string][]byte{"/etc/passwd": []byte("root:x:0:0:root:/:/\n")},
		Entrypoint: []string{"/usr/bin/" + agent}, Command: []string{"--config", "/etc/dpmip/agent.toml"},
	}.WriteTo(f)
	return errors.Join(err, f.Close())
}

// tag is a version as an image's tag may be: without "+".
func tag(version string) string { return strings.ReplaceAll(version, "+", "_") }

// gather copies an artefact and writes its SBOM.
func gather(dir string, m made, version string) error {
	b, err := os.ReadFile(m.file)
	if err != nil {
		return err
	}
	to := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(to, b, 0o644); err != nil {
		return err
	}
	bill, err := sbom.Of(to, version, m.programs...)
	if err != nil {
		return err
	}
	return os.WriteFile(to+".cdx.json", bill, 0o644)
}

// cardFiles writes what a BlueField's operator copies, and the key that the
// card needs.
func (o *options) cardFiles(dir, version string) error {
	for _, name := range bluefield.Names {
		v := version
		if strings.HasSuffix(name, ".yaml") {
			v = tag(version)
		}
		b, err := bluefield.File(name, v)
		if err != nil {
			return err
		}
		perm := os.FileMode(0o644)
		if strings.HasSuffix(name, ".sh") {
			perm = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, perm); err != nil {
			return err
		}
	}
	key, err := o.signer()
	if err != nil {
		return err
	}
	pub := bundle.FormatPublic(key.Public().(ed25519.PublicKey))
	return os.WriteFile(filepath.Join(dir, "update.keys"), []byte(pub), 0o644)
}

// sums writes SHA256SUMS, as sha256sum -c reads it.
func sums(dir string) error {
	list, err := os.ReadDir(dir) // sorted
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, f := range list {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), f.Name())
		fmt.Printf("%9d bytes  %s\n", len(data), f.Name())
	}
	fmt.Printf("%s: %d files\n", dir, len(list)+1)
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(b.String()), 0o644)
}
