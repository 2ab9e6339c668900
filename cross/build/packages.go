package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/dpmip/dpmip/cross/manpage"
	pkg "github.com/dpmip/dpmip/cross/packages"
)

// architectures that packages are made for.
var architectures = []string{"amd64", "arm64"}

// packages makes OUT/packages.
func packages(ctx context.Context, o *options) error {
	_, err := o.packages(ctx)
	return err
}

// made is an artefact, with the Go programs in it.
type made struct {
	file     string
	programs []string
}

func (o *options) packages(ctx context.Context) ([]made, error) {
	dir := filepath.Join(o.out, "packages")
	scratch := filepath.Join(dir, "scratch")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return nil, err
	}
	nfpm, err := o.nfpm(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range pkg.Programs {
		names = append(names, p.Name)
	}
	bin := map[string]string{}
	for _, arch := range slices.Compact(slices.Sorted(slices.Values(append(architectures, runtime.GOARCH)))) {
		if bin[arch], err = compile(ctx, o, arch, names...); err != nil {
			return nil, err
		}
	}
	docs, err := o.docs(ctx, bin[runtime.GOARCH], scratch)
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(".")
	if err != nil {
		return nil, err
	}
	var all []made
	for _, arch := range architectures {
		for _, p := range pkg.Programs {
			in := pkg.Input{
				Program: p, Arch: arch, Version: pkg.Version(o.release), Epoch: o.epoch, Root: root,
				Binary: filepath.Join(bin[arch], p.Name), Man: docs.man[p.Name], Completion: docs.completion[p.Name], Scratch: scratch,
			}
			files, err := pkg.Make(ctx, nfpm, in, dir)
			if err != nil {
				return nil, err
			}
			for _, f := range files {
				all = append(all, made{f, []string{in.Binary}})
			}
		}
	}
	fmt.Printf("%s: %d packages, version %s\n", dir, len(all), pkg.Version(o.release))
	return all, nil
}

// nfpm builds the pinned packager.
func (o *options) nfpm(ctx context.Context) (string, error) {
	tool, err := filepath.Abs(filepath.Join(o.out, "tools", "nfpm"))
	if err != nil {
		return "", err
	}
	_, err = output(ctx, []string{"GOFLAGS=", "CGO_ENABLED=0"}, "go", "build", "-modfile=cross/packages/nfpm.mod", "-o", tool, "github.com/goreleaser/nfpm/v2/cmd/nfpm")
	return tool, err
}

// documents of programs, as files.
type documents struct {
	man        map[string]string
	completion map[string]map[string]string // by program, by shell
}

// docs asks the programs themselves.
func (o *options) docs(ctx context.Context, bin, scratch string) (documents, error) {
	d := documents{man: map[string]string{}, completion: map[string]map[string]string{"dpmipctl": {}}}
	for _, p := range pkg.Programs {
		page, err := o.page(ctx, p, filepath.Join(bin, p.Name))
		if err != nil {
			return d, err
		}
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.BestCompression) // without name and time
		if err != nil {
			return d, err
		}
		if _, err := z.Write(page.Roff()); err != nil {
			return d, err
		}
		if err := z.Close(); err != nil {
			return d, err
		}
		d.man[p.Name] = absolute(scratch, fmt.Sprintf("%s.%d.gz", p.Name, p.Section))
		if err := os.WriteFile(d.man[p.Name], b.Bytes(), 0o644); err != nil {
			return d, err
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := output(ctx, clean, filepath.Join(bin, "dpmipctl"), "completion", shell)
		if err != nil {
			return d, err
		}
		file := absolute(scratch, "completion."+shell)
		if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
			return d, err
		}
		d.completion["dpmipctl"][shell] = file
	}
	return d, nil
}

// clean keeps this machine's settings out of what programs say of themselves.
var clean = []string{"DPMIP_MGMT=", "DPMIP_AGENT=", "DPMIP_ROUTER=", "DPMIP_TLS_CA=", "DPMIP_TLS_CERT=", "DPMIP_TLS_KEY="}

func absolute(dir, name string) string {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return filepath.Join(dir, name) // only without a working folder
	}
	return path
}

// page is the man page of one program.
func (o *options) page(ctx context.Context, p pkg.Program, binary string) (manpage.Page, error) {
	page := manpage.Page{
		Name: p.Name, Section: p.Section, Version: pkg.Version(o.release), Summary: p.Summary,
		Description: []string{p.Summary + "."},
	}
	for _, other := range pkg.Programs {
		if other.Name != p.Name {
			page.SeeAlso = append(page.SeeAlso, fmt.Sprintf("%s(%d)", other.Name, other.Section))
		}
	}
	if !p.Daemon {
		global, commands, err := manpage.Tree(p.Name, func(words ...string) (string, error) {
			return output(ctx, clean, binary, append(words, "--help")...)
		})
		page.Options, page.Commands = global, commands
		return page, err
	}
	help, err := said(ctx, binary, "-h")
	if err != nil {
		return page, err
	}
	page.Options = manpage.Flags(help)
	page.Description = append(page.Description, "SIGTERM ends the daemon; what it has programmed stays. The systemd unit is "+p.Name+".service.")
	for _, name := range slices.Sorted(maps.Keys(p.Config)) {
		b, err := os.ReadFile(p.Config[name])
		if err != nil {
			return page, err
		}
		page.Files = append(page.Files, manpage.File{Path: "/etc/dpmip/" + name, Text: "its configuration", Example: string(b)})
	}
	return page, nil
}

// said is what a program prints to stderr, as Go's flag package does for -h.
func said(ctx context.Context, binary string, args ...string) (string, error) {
	text, err := combined(ctx, binary, args...)
	if !strings.HasPrefix(text, "Usage of ") {
		return "", fmt.Errorf("%s %s: no help, but %q, %w", binary, strings.Join(args, " "), text, err)
	}
	before, _, _ := strings.Cut(text, "\n"+filepath.Base(binary)+":") // what main says of flag.ErrHelp
	return before, nil
}
