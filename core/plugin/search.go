package plugin

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// place is a file or folder to look at. One that a person asked for is listed even when
// there is nothing.
type place struct {
	path  string
	asked bool
}

// places are where backends are looked for, first wins. The working directory is none of
// them, and a relative path in the environment is not followed.
func places(o Options) []place {
	var out []place
	for _, p := range o.Paths {
		if abs, err := filepath.Abs(p); err == nil && p != "" {
			out = append(out, place{abs, true})
		}
	}
	if os.Geteuid() == os.Getuid() { // a program with borrowed rights does not trust its environment
		for _, p := range filepath.SplitList(os.Getenv("TRAINER_BACKEND_PATH")) {
			if p != "" {
				out = append(out, place{p, true})
			}
		}
	}
	for _, p := range Folders() {
		out = append(out, place{p, false})
	}
	return out
}

// Folders are the standard folders of backends on this system, first wins: the user's, the
// program's, the system's. They need not exist.
func Folders() []string {
	var out []string
	if data := userData(); data != "" {
		out = append(out, filepath.Join(data, "trainer", "backends"))
	}
	if exe, err := realExecutable(); err == nil {
		dir := filepath.Dir(exe)
		out = append(out, filepath.Join(dir, "..", "lib", "trainer", "backends"), filepath.Join(dir, "backends"))
	}
	return append(out, "/usr/local/lib/trainer/backends", "/usr/lib/trainer/backends")
}

// userData is the folder of the user's application data; empty when there is none.
func userData() string {
	if os.Geteuid() != os.Getuid() {
		return ""
	}
	home, err := os.UserHomeDir()
	if runtime.GOOS == "darwin" {
		if err != nil {
			return ""
		}
		return filepath.Join(home, "Library", "Application Support")
	}
	if xdg := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(xdg) {
		return xdg
	}
	if err != nil || !filepath.IsAbs(home) {
		return ""
	}
	return filepath.Join(home, ".local", "share")
}

func realExecutable() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(exe)
}

// found lists every candidate of every place, in order; a file that two places lead to
// stands there once.
func found(o Options) []Candidate {
	var out []Candidate
	seen := map[string]bool{}
	for _, p := range places(o) {
		for _, c := range p.list() {
			if real, err := filepath.EvalSymlinks(c.Path); err == nil {
				key := real + "\x00" + c.Name
				if seen[key] {
					continue
				}
				seen[key] = true
			}
			out = append(out, c)
		}
	}
	return out
}

// list is what a place holds.
func (p place) list() []Candidate {
	if !filepath.IsAbs(p.path) {
		return []Candidate{{Path: p.path, Reason: ReasonNotFound, Sentence: "a relative path in TRAINER_BACKEND_PATH is not followed; write an absolute one"}}
	}
	info, err := os.Stat(p.path)
	if err != nil {
		if !p.asked {
			return nil
		}
		return []Candidate{{Path: p.path, Reason: ReasonNotFound, Sentence: "there is no such file or folder"}}
	}
	if !info.IsDir() {
		name, _ := backendName(p.path)
		return []Candidate{{Path: p.path, Name: name, Reason: ReasonFound}}
	}
	return p.listFolder()
}

func (p place) listFolder() []Candidate {
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return []Candidate{{Path: p.path, Reason: ReasonPermission, Sentence: "the folder cannot be read: " + err.Error()}}
	}
	var out []Candidate
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), filePrefix) {
			continue
		}
		c := Candidate{Path: filepath.Join(p.path, e.Name()), Reason: ReasonFound}
		name, ok := backendName(c.Path)
		if c.Name = name; !ok {
			c.Reason, c.Sentence = ReasonFileName, "expected a name like "+filePrefix+"NAME"+nativeSuffix()
		}
		out = append(out, c)
	}
	if len(out) == 0 && p.asked {
		return []Candidate{{Path: p.path, Reason: ReasonNotFound, Sentence: "the folder holds no file named " + filePrefix + "NAME" + nativeSuffix()}}
	}
	// Of two suffixes of one name the system's own comes first.
	slices.SortStableFunc(out, func(a, b Candidate) int {
		return strings.Compare(foreign(a.Path)+a.Path, foreign(b.Path)+b.Path)
	})
	return out
}

// foreign sorts files with the system's own suffix first.
func foreign(path string) string {
	if strings.HasSuffix(path, nativeSuffix()) {
		return "0"
	}
	return "1"
}
