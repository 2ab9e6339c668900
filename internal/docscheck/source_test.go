package docscheck

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// source is the files of one or more folders, below the root of the project.
type source []*ast.File

func read(t *testing.T, paths ...string) source {
	t.Helper()
	var out source
	for _, p := range paths {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", p), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

// below reads every file of the folders, and of those in them, that is no test.
func below(t *testing.T, roots ...string) source {
	t.Helper()
	var paths []string
	for _, root := range roots {
		err := filepath.WalkDir(filepath.Join("../..", root), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				paths = append(paths, strings.TrimPrefix(filepath.ToSlash(path), "../../"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return read(t, paths...)
}

func (s source) inspect(f func(ast.Node)) {
	for _, file := range s {
		ast.Inspect(file, func(n ast.Node) bool {
			f(n)
			return true
		})
	}
}

// text is the value of a string literal; "" for anything else.
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// literals gives every string literal that matches.
func (s source) literals(match *regexp.Regexp) []string {
	found := map[string]bool{}
	s.inspect(func(n ast.Node) {
		if lit, ok := n.(*ast.BasicLit); ok {
			if v := text(lit); match.MatchString(v) {
				found[v] = true
			}
		}
	})
	return sortedKeys(found)
}

// list gives the strings of a variable's or constant's composite literal, be
// they elements or values of keys; but the word "invalid", which names a zero.
func (s source) list(name string) (out []string) {
	s.inspect(func(n ast.Node) {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Names) == 0 || v.Names[0].Name != name || len(v.Values) == 0 {
			return
		}
		if c, ok := v.Values[0].(*ast.CompositeLit); ok {
			out = append(out, elements(c)...)
		}
	})
	return slices.DeleteFunc(out, func(s string) bool { return s == "invalid" })
}

func elements(c *ast.CompositeLit) (out []string) {
	for _, e := range c.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			e = kv.Value
		}
		if v := text(e); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// constants gives the values of the constants whose names begin with prefix.
func (s source) constants(prefix string) map[string]string {
	out := map[string]string{}
	s.inspect(func(n ast.Node) {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return
		}
		for i, name := range v.Names {
			if lit, ok := at(v.Values, i).(*ast.BasicLit); ok && strings.HasPrefix(name.Name, prefix) {
				out[name.Name] = strings.Trim(lit.Value, `"`)
			}
		}
	})
	return out
}

func at(list []ast.Expr, i int) ast.Expr {
	if i < len(list) {
		return list[i]
	}
	return nil
}

// arguments gives the literal that calls of a function or method have at place
// i. Of a sum it gives the literal that it begins with, and "..." behind it.
func (s source) arguments(function string, i int) []string {
	found := map[string]bool{}
	s.inspect(func(n ast.Node) {
		c, ok := n.(*ast.CallExpr)
		if !ok || called(c) != function {
			return
		}
		arg, tail := at(c.Args, i), ""
		for {
			sum, ok := arg.(*ast.BinaryExpr)
			if !ok {
				break
			}
			arg, tail = sum.X, "..."
		}
		if v := text(arg); v != "" {
			found[v+tail] = true
		}
	})
	return sortedKeys(found)
}

// assigned gives the literals that variables of a name are set to.
func (s source) assigned(name string) []string {
	found := map[string]bool{}
	s.inspect(func(n ast.Node) {
		a, ok := n.(*ast.AssignStmt)
		if !ok {
			return
		}
		for i, left := range a.Lhs {
			if id, ok := left.(*ast.Ident); ok && id.Name == name && text(at(a.Rhs, i)) != "" {
				found[text(at(a.Rhs, i))] = true
			}
		}
	})
	return sortedKeys(found)
}

func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// fields gives the literals of one field of the composite literals of a type.
func (s source) fields(typ, field string) []string {
	found := map[string]bool{}
	s.inspect(func(n ast.Node) {
		c, ok := n.(*ast.CompositeLit)
		if !ok || !named(c.Type, typ) {
			return
		}
		for _, e := range c.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			if id, ok := kv.Key.(*ast.Ident); ok && id.Name == field && text(kv.Value) != "" {
				found[text(kv.Value)] = true
			}
		}
	})
	return sortedKeys(found)
}

func named(e ast.Expr, typ string) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == typ
	case *ast.SelectorExpr:
		return e.Sel.Name == typ
	}
	return false
}

// keys gives the TOML keys of a struct with dots, and whether each is required.
func (s source) keys(t *testing.T, root string) map[string]bool {
	t.Helper()
	types := map[string]*ast.StructType{}
	s.inspect(func(n ast.Node) {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if st, ok := spec.Type.(*ast.StructType); ok {
				types[spec.Name.Name] = st
			}
		}
	})
	if types[root] == nil {
		t.Fatalf("no struct %s", root)
	}
	out := map[string]bool{}
	collect(types, types[root], "", out)
	return out
}

func collect(types map[string]*ast.StructType, st *ast.StructType, prefix string, out map[string]bool) {
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		name, opts, _ := strings.Cut(reflect.StructTag(tag).Get("toml"), ",")
		if err != nil || name == "" || name == "-" {
			continue
		}
		if inner := types[element(f.Type)]; inner != nil {
			collect(types, inner, prefix+name+".", out)
			continue
		}
		out[prefix+name] = opts == "required"
	}
}

// element is the name of the type behind lists, maps and pointers, of this
// package or of the tables that programs share.
func element(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.ArrayType:
		return element(e.Elt)
	case *ast.MapType:
		return element(e.Value)
	case *ast.StarExpr:
		return element(e.X)
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if named(e.X, "peerconf") {
			return e.Sel.Name
		}
	}
	return ""
}
