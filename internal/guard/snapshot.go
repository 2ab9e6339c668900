package guard

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Snapshot is what exists on a machine that tests may make and forget, each by
// a name that says what it is.
type Snapshot struct {
	Namespaces []string // network namespaces, by who keeps them: a mount or a process
	Mounts     []string // nsfs and bpf file systems
	Links      []string // netdevs of the namespace of this process
	Processes  []string // programs of the project
}

// Take looks at the machine. What cannot be read (a process that is just
// ending, another user's) is left out.
func Take() (Snapshot, error) { return take(os.DirFS("/")) }

func take(root fs.FS) (s Snapshot, err error) {
	if s.Mounts, err = mounts(root); err != nil {
		return s, fmt.Errorf("guard: %w", err)
	}
	links, err := fs.ReadDir(root, "sys/class/net")
	if err != nil {
		return s, fmt.Errorf("guard: %w", err)
	}
	for _, l := range links {
		s.Links = append(s.Links, l.Name())
	}
	s.processes(root)
	return s, nil
}

// mounts lists the mount points of nsfs and bpf.
func mounts(root fs.FS) (out []string, err error) {
	f, err := root.Open("proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// proc(5): the mount point is the fifth field; the type follows "-".
		left, right, ok := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(kind) == 0 || kind[0] != "nsfs" && kind[0] != "bpf" {
			continue
		}
		out = append(out, kind[0]+" on "+fields[4])
	}
	return out, lines.Err()
}

// processes looks through /proc for our programs and for other network
// namespaces that processes live in or hold open.
func (s *Snapshot) processes(root fs.FS) {
	own := link(root, "proc/self/ns/net")
	procs, _ := fs.Glob(root, "proc/[0-9]*")
	for _, p := range procs {
		comm, err := fs.ReadFile(root, path.Join(p, "comm"))
		if err != nil {
			continue
		}
		who := fmt.Sprintf("%s (%s)", strings.TrimSpace(string(comm)), filepath.Base(p))
		if strings.HasPrefix(who, "dpmip") {
			s.Processes = append(s.Processes, who)
		}
		refs := []string{path.Join(p, "ns/net")}
		fds, _ := fs.ReadDir(root, path.Join(p, "fd"))
		for _, fd := range fds {
			refs = append(refs, path.Join(p, "fd", fd.Name()))
		}
		for _, ref := range refs {
			if ns := link(root, ref); strings.HasPrefix(ns, "net:[") && ns != own {
				s.Namespaces = append(s.Namespaces, ns+" of "+who)
			}
		}
	}
	slices.Sort(s.Namespaces)
	s.Namespaces = slices.Compact(s.Namespaces)
}

func link(root fs.FS, name string) string {
	to, err := fs.ReadLink(root, name)
	if err != nil {
		return ""
	}
	return to
}

// Left lists what is there now and was not there before.
func Left(before, now Snapshot) (left []string) {
	for _, x := range []struct {
		what        string
		before, now []string
	}{
		{"network namespace", before.Namespaces, now.Namespaces},
		{"mount", before.Mounts, now.Mounts},
		{"netdev", before.Links, now.Links},
		{"process", before.Processes, now.Processes},
	} {
		for _, name := range x.now {
			if !slices.Contains(x.before, name) {
				left = append(left, x.what+": "+name)
			}
		}
	}
	return left
}
