package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// goFile is one parsed file of the tree.
type goFile struct {
	path string // slash-separated, from the root
	pkg  string // its folder
	ast  *ast.File
}

func (f goFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

func tree(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() && (d.Name() == "testdata" || rel == "build" || strings.HasPrefix(d.Name(), ".") && rel != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments)
		files = append(files, goFile{rel, path.Dir(rel), parsed})
		return err
	})
	require.NoError(t, err)
	return files
}

// allowed reads rules.txt into the closure: package -> what it may import.
func allowed(t *testing.T, packages []string) map[string]map[string]bool {
	t.Helper()
	text, err := os.ReadFile("rules.txt")
	require.NoError(t, err)
	may := map[string]map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		left, right, ok := strings.Cut(line, "<")
		if !ok {
			continue
		}
		for _, b := range expand(right, packages) {
			if may[b] == nil {
				may[b] = map[string]bool{}
			}
			for _, a := range expand(left, packages) {
				may[b][a] = true
				for inherited := range may[a] {
					may[b][inherited] = true
				}
			}
		}
	}
	return may
}

// expand lists the packages that comma-separated patterns name; a pattern that names none
// is kept, so that a typing error shows.
func expand(patterns string, packages []string) []string {
	var out []string
	for _, p := range strings.Split(patterns, ",") {
		p = strings.TrimSpace(p)
		matched := slices.DeleteFunc(slices.Clone(packages), func(name string) bool {
			ok, _ := path.Match(p, name)
			return !ok
		})
		if len(matched) == 0 {
			matched = []string{p}
		}
		out = append(out, matched...)
	}
	return out
}

func packagesOf(files []goFile) []string {
	set := map[string]bool{}
	for _, f := range files {
		set[f.pkg] = true
	}
	var names []string
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestImportDirections(t *testing.T) {
	files := tree(t)
	may := allowed(t, packagesOf(files))
	for _, f := range files {
		if f.isTest() || strings.HasPrefix(f.pkg, "internal/") {
			continue
		}
		for _, spec := range f.ast.Imports {
			name, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), "trainer/")
			if name == "trainer" {
				name, ours = ".", true
			}
			if ours && !may[f.pkg][name] && !strings.HasPrefix(name, f.pkg+"/internal") {
				t.Errorf("%s imports %s, which rules.txt does not allow", f.path, name)
			}
		}
	}
}

func TestOnlyOneRoomTouchesForeignCode(t *testing.T) {
	rooms := map[string][]string{
		"github.com/ebitengine/purego": {"core/plugin"},
		"unsafe":                       {"core/plugin", "core/abi"},
	}
	for _, f := range tree(t) {
		for _, spec := range f.ast.Imports {
			name := strings.Trim(spec.Path.Value, `"`)
			if may, ruled := rooms[name]; ruled && !slices.Contains(may, f.pkg) {
				t.Errorf("%s imports %s; only %v may", f.path, name, may)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	files := tree(t)
	for _, pkg := range packagesOf(files) {
		var comments, docs int
		for _, f := range files {
			if f.pkg == pkg && f.ast.Doc != nil && !f.isTest() {
				comments++
				if path.Base(f.path) == "doc.go" {
					docs++
				}
			}
		}
		if docs != 1 || comments != 1 {
			t.Errorf("%s: expected exactly one package comment, in doc.go; found %d, %d of them there", pkg, comments, docs)
		}
	}
}

var vendorWord = regexp.MustCompile(`(?i)cuda|metal|nvml`)

func TestVendorsAreNoIdentifiers(t *testing.T) {
	for _, f := range tree(t) {
		if f.isTest() || f.pkg == "core/telemetry" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && vendorWord.MatchString(id.Name) {
				t.Errorf("%s: the identifier %s names a vendor", f.path, id.Name)
			}
			return true
		})
	}
}

func TestFilesStaySmall(t *testing.T) {
	for _, f := range tree(t) {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(f.path)))
		require.NoError(t, err)
		if lines := strings.Count(string(text), "\n"); lines > 600 {
			t.Errorf("%s has %d lines: split it along its idea", f.path, lines)
		}
	}
}
