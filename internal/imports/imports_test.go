package imports

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the top of the checkout, seen from this package.
const root = "../.."

// file is one parsed Go file.
type file struct {
	path string // below the top of the checkout
	pkg  string // the folder, below the top
	test bool
	ast  *ast.File
}

// files parses every Go file of the project; no folder needs to build.
func files(t *testing.T) []file {
	t.Helper()
	var out []file
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "bin" || name == "out"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		a, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		out = append(out, file{
			path: rel, pkg: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(rel, "_test.go"), ast: a,
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("no Go file was found: the test looks in the wrong place")
	}
	return out
}

// TestImports holds every import against the table.
func TestImports(t *testing.T) {
	t.Parallel()
	for _, f := range files(t) {
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if why := refuse(f.pkg, imported, f.test); why != "" {
				t.Errorf("%s imports %s: %s", f.path, strings.TrimPrefix(imported, module+"/"), why)
			}
		}
		if roomOf(f.pkg) == nil {
			t.Errorf("%s lies in no room: name %s in internal/imports/table.go and say whom it may know", f.path, f.pkg)
		}
	}
}

// TestPureCores checks what makes a core pure, as far as a parser can see it.
func TestPureCores(t *testing.T) {
	t.Parallel()
	for _, f := range files(t) {
		if r := roomOf(f.pkg); r == nil || !r.pure || f.test {
			continue
		}
		for _, spec := range f.ast.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if what := impure[path]; what != "" && harmless[path] == nil {
				t.Errorf("%s imports %s: a pure core has no use for %s", f.path, path, what)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: a pure core has none", f.path)
			case *ast.SelectorExpr:
				if why := impureName(n); why != "" {
					t.Errorf("%s: %s", f.path, why)
				}
			}
			return true
		})
	}
}

// impureName tells what is impure about a qualified name; "" where nothing is.
func impureName(n *ast.SelectorExpr) string {
	x, ok := n.X.(*ast.Ident)
	switch {
	case !ok:
	case x.Name == "time" && slices.Contains(clocks, n.Sel.Name):
		return fmt.Sprintf("uses time.%s: a pure core is told the time", n.Sel.Name)
	case harmless[x.Name] != nil && !slices.Contains(harmless[x.Name], n.Sel.Name):
		return fmt.Sprintf("uses %s.%s: a pure core has no use for %s", x.Name, n.Sel.Name, impure[x.Name])
	}
	return ""
}

// TestPackageDocs checks that each package says in one sentence what it is: in
// doc.go, in its only file, or in main.go for a program.
func TestPackageDocs(t *testing.T) {
	t.Parallel()
	docs, names, sizes := map[string][]string{}, map[string]string{}, map[string]int{}
	for _, f := range files(t) {
		if f.test || ast.IsGenerated(f.ast) {
			continue
		}
		names[f.pkg] = f.ast.Name.Name
		sizes[f.pkg]++
		if f.ast.Doc != nil {
			docs[f.pkg] = append(docs[f.pkg], filepath.Base(f.path))
			if why := sentence(f.ast.Name.Name, filepath.Base(f.pkg), f.ast.Doc.Text()); why != "" {
				t.Errorf("%s: %s", f.path, why)
			}
		}
	}
	for pkg, name := range names {
		switch got := docs[pkg]; {
		case len(got) == 0:
			t.Errorf("package %s has no package comment: say in one sentence, in doc.go, what it is", pkg)
		case len(got) > 1:
			t.Errorf("package %s has package comments in %s: keep the one in doc.go", pkg, strings.Join(got, " and "))
		case name != "main" && sizes[pkg] > 1 && got[0] != "doc.go":
			t.Errorf("package %s has its package comment in %s: it belongs in doc.go", pkg, got[0])
		}
	}
}

// sentence tells what is wrong with a package comment.
func sentence(name, folder, doc string) string {
	first, _, _ := strings.Cut(strings.ReplaceAll(doc, "\n", " "), ". ")
	want := "Package " + name + " "
	if name == "main" {
		want = "Command " + folder + " "
	}
	switch {
	case !strings.HasPrefix(doc, want) && (name != "main" || !strings.HasPrefix(strings.ToLower(doc), folder+" ")):
		return fmt.Sprintf("the package comment does not begin with %q", want)
	case !strings.HasSuffix(strings.TrimSpace(first), ".") && !strings.Contains(doc, "."):
		return "the package comment has no whole sentence"
	}
	return ""
}

// TestTable checks the table itself by what must and must not be.
func TestTable(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pkg, imported string
		test, ok      bool
	}{
		{"cmd/dpmip-agent", "agent", false, true},
		{"cmd/dpmip-agent", "hwabstraction/detect", false, true},
		{"cmd/dpmip-agent", "hwabstraction/software", false, false},
		{"cmd/dpmip-agent", "testbed/topology", false, false},
		{"cmd/dpmip-lab", "testbed/topology", false, true},
		{"cmd/dpmip-lab", "hwabstraction/software", false, true},
		{"agent", "agent/bul", false, true},
		{"agent", "offload", false, true},
		{"agent", "hwabstraction", false, true},
		{"agent", "hwabstraction/software", false, false},
		{"agent", "hwabstraction/haltest", false, false},
		{"agent", "hwabstraction/haltest", true, true},
		{"agent", "mgmt", false, false},
		{"agent", "testbed/sim", true, false},
		{"mgmt", "mgmt/store", false, true},
		{"mgmt", "router", false, false},
		{"mgmt", "hwabstraction", false, false},
		{"mgmt/store/bolt", "mgmt/store", false, true},
		{"router", "mgmtclient", false, true},
		{"router", "agent", false, false},
		{"offload", "mobility", false, true},
		{"offload", "hwabstraction/software", false, false},
		{"mobility", "hwabstraction", false, false},
		{"mobility", "mobility/wire", false, false},
		{"mobility/wire", "mobility", false, true},
		{"mobility/wire", "mobility/registration", false, false},
		{"hwabstraction", "mobility", false, false},
		{"hwabstraction", "hwabstraction/software", false, false},
		{"hwabstraction/software", "hwabstraction", false, true},
		{"hwabstraction/software", "hwabstraction/nicmem", false, false},
		{"hwabstraction/software", "mobility", false, false},
		{"hwabstraction/detect", "hwabstraction/software", false, true},
		{"internal/task", "agent", false, false},
		{"testbed/sim", "mgmt", false, true},
		{"nowhere", "mobility", false, false},
	}
	for _, tt := range tests {
		why := refuse(tt.pkg, module+"/"+tt.imported, tt.test)
		if (why == "") != tt.ok {
			t.Errorf("%s importing %s (test: %v): %q, want allowed: %v", tt.pkg, tt.imported, tt.test, why, tt.ok)
		}
	}
	for _, tt := range []struct {
		pkg, imported string
		ok            bool
	}{
		{"mobility/wire", "encoding/binary", true},
		{"mobility/wire", "golang.org/x/sys/unix", false},
		{"agent", "github.com/cilium/ebpf/link", false},
		{"hwabstraction/software", "github.com/cilium/ebpf/link", true},
		{"mgmt", "go.etcd.io/bbolt", false},
		{"mgmt/store/bolt", "go.etcd.io/bbolt/errors", true},
		{"agent", "google.golang.org/grpc/codes", false},
		{"agent", "math/rand", false},
		{"agent", "math/rand/v2", true},
	} {
		if why := refuse(tt.pkg, tt.imported, false); (why == "") != tt.ok {
			t.Errorf("%s importing %s: %q, want allowed: %v", tt.pkg, tt.imported, why, tt.ok)
		}
	}
	for _, r := range rooms {
		if r.why == "" {
			t.Errorf("room %s refuses without a reason", r.path)
		}
	}
}
