package embedded

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// What this package takes of engine is there on Windows, too, where the user's commands
// are built with it and there is no engine.
func TestEngineOfOtherSystems(t *testing.T) {
	on := build.Default
	on.GOOS = "windows"
	files := func(dir string) (out []*ast.File) {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if match, err := on.MatchFile(dir, filepath.Base(name)); err != nil || !match {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, f)
		}
		return out
	}
	there := map[string]bool{}
	for _, f := range files("engine") {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				there[d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok {
						for _, name := range v.Names {
							there[name.Name] = true
						}
					}
				}
			}
		}
	}
	used := 0
	for _, f := range files(".") {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "engine" {
					if used++; !there[s.Sel.Name] {
						t.Errorf("engine.%s is not there on %s", s.Sel.Name, on.GOOS)
					}
				}
			}
			return true
		})
	}
	if used == 0 {
		t.Error("nothing of engine is used")
	}
}
