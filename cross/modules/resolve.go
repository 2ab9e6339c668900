package modules

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Info is one module of a kernel's tree.
type Info struct {
	Name    string   // with "_" for "-"
	Path    string   // below the tree, as packed (.ko, .ko.xz)
	Image   []byte   // the ELF file, not compressed
	Depends []string // names
}

// name is a module's name by its file.
func name(file string) string {
	base, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

// Decompress turns a packed module (by its file name) into the ELF file.
type Decompress func(file string, packed []byte) ([]byte, error)

// Resolve finds the wanted modules in tree and gives them with all that they
// depend on, each after what it needs. Names in builtin (the lines of the
// kernel's modules.builtin) are there anyway and are left out; any other name
// that is not found is an error.
func Resolve(tree fs.FS, builtin string, unpack Decompress, wanted []string) ([]Info, error) {
	files := map[string]string{}
	err := fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path.Base(p), ".ko") {
			files[name(p)] = p
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	r := resolver{tree: tree, files: files, unpack: unpack, builtin: map[string]bool{}, state: map[string]int{}}
	for _, line := range strings.Fields(builtin) {
		r.builtin[name(line)] = true
	}
	for _, w := range wanted {
		if err := r.visit(name(w)); err != nil {
			return nil, err
		}
	}
	return r.out, nil
}

type resolver struct {
	tree    fs.FS
	files   map[string]string
	builtin map[string]bool
	unpack  Decompress
	state   map[string]int // 1 = being visited, 2 = in out
	out     []Info
}

func (r *resolver) visit(mod string) error {
	switch {
	case r.builtin[mod], r.state[mod] == 2:
		return nil
	case r.state[mod] == 1:
		return fmt.Errorf("modules: %s depends on itself", mod)
	}
	r.state[mod] = 1
	file, ok := r.files[mod]
	if !ok {
		return fmt.Errorf("modules: the kernel has no %s", mod)
	}
	packed, err := fs.ReadFile(r.tree, file)
	if err != nil {
		return fmt.Errorf("modules: %w", err)
	}
	image, err := r.unpack(file, packed)
	if err != nil {
		return fmt.Errorf("modules: %s: %w", file, err)
	}
	m := Info{Name: mod, Path: file, Image: image}
	if m.Depends, err = depends(image); err != nil {
		return fmt.Errorf("modules: %s: %w", file, err)
	}
	for _, d := range m.Depends {
		if err := r.visit(d); err != nil {
			return fmt.Errorf("%w (for %s)", err, mod)
		}
	}
	r.state[mod] = 2
	r.out = append(r.out, m)
	return nil
}

// depends reads "depends=a,b" of a module's .modinfo section.
func depends(image []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	sec := f.Section(".modinfo")
	if sec == nil {
		return nil, fmt.Errorf("no .modinfo: it is no kernel module")
	}
	info, err := sec.Data()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, field := range strings.Split(string(info), "\x00") {
		list, ok := strings.CutPrefix(field, "depends=")
		if !ok || list == "" {
			continue
		}
		for _, d := range strings.Split(list, ",") {
			out = append(out, name(d))
		}
	}
	return out, nil
}
