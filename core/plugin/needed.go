package plugin

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// explain names the libraries that are missing, where that is why loading failed. The
// loader has the last word on what it finds; it names only the first that is missing.
func (img image) explain(real string, err error) error {
	var r *Refusal
	if !errors.As(err, &r) || r.Code != ReasonLoad {
		return err
	}
	missing := img.unresolved(filepath.Dir(real))
	if len(missing) > 0 {
		return refuse(ReasonDependency, "needs %s, which is in none of the folders the system looks in; install it, or add its folder to LD_LIBRARY_PATH", strings.Join(missing, ", "))
	}
	if strings.Contains(r.Text, "cannot open shared object file") || strings.Contains(r.Text, "Library not loaded") {
		return &Refusal{ReasonDependency, r.Text}
	}
	return err
}

// unresolved are the needed libraries that stand in no folder the loader searches. origin
// is the folder of the library.
func (img image) unresolved(origin string) []string {
	if runtime.GOOS == "darwin" {
		return nil // system libraries are no files there
	}
	var folders []string
	for _, p := range img.runpath {
		folders = append(folders, strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin).Replace(p))
	}
	folders = append(folders, filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))...)
	folders = append(folders, libraryFolders("/etc/ld.so.conf", 0)...)
	for _, base := range []string{"/lib", "/usr/lib", "/lib64", "/usr/lib64"} {
		folders = append(folders, base)
		multiarch, _ := filepath.Glob(base + "/*-linux-*")
		folders = append(folders, multiarch...)
	}
	var missing []string
	for _, lib := range img.needed {
		if !standsIn(lib, folders) {
			missing = append(missing, lib)
		}
	}
	return missing
}

func standsIn(lib string, folders []string) bool {
	if strings.Contains(lib, "/") {
		_, err := os.Stat(lib)
		return err == nil
	}
	for _, dir := range folders {
		if _, err := os.Stat(filepath.Join(dir, lib)); err == nil {
			return true
		}
	}
	return false
}

// libraryFolders reads the folders of ld.so.conf and of what it includes.
func libraryFolders(conf string, depth int) []string {
	text, err := os.ReadFile(conf)
	if err != nil || depth > 4 {
		return nil
	}
	var out []string
	for _, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if fields[0] != "include" {
			out = append(out, fields[0])
			continue
		}
		for _, pattern := range fields[1:] {
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(filepath.Dir(conf), pattern)
			}
			files, _ := filepath.Glob(pattern)
			for _, f := range files {
				out = append(out, libraryFolders(f, depth+1)...)
			}
		}
	}
	return out
}
