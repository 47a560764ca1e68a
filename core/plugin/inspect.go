package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"trainer/core/abi"
)

// Inspection is all that a file says of itself without being loaded.
type Inspection struct {
	Path     string    `json:"path"`
	Name     string    `json:"name"`
	Bytes    int64     `json:"bytes"`
	Reason   Code      `json:"reason"`   // ok, or why it would be refused before it is tried
	Sentence string    `json:"sentence"` // the same for people
	Manifest *Manifest `json:"manifest,omitempty"`
	Speaks   string    `json:"speaks,omitempty"` // border version that it and this program would speak
	Exports  []string  `json:"exports"`
	Needs    []Library `json:"needs"`
	Runpath  []string  `json:"runpath,omitempty"`
	Traits   []Trait   `json:"traits"`
}

// Library is one that a file needs.
type Library struct {
	Name  string `json:"name"`
	Found bool   `json:"found"` // in a folder the system's loader looks in
}

// Trait is something a backend must not be, or had better not be.
type Trait struct {
	Forbidden bool   `json:"forbidden"` // else it is only worth a look
	Sentence  string `json:"sentence"`
}

// Forbidden reports whether the file would be refused or breaks a rule of the border.
func (i Inspection) Forbidden() bool {
	return i.Reason != ReasonOK || slices.ContainsFunc(i.Traits, func(t Trait) bool { return t.Forbidden })
}

// Inspect reads a file. No code of it runs. Only its name may be other than
// trainer-backend-NAME: it is then no reason but a trait.
func Inspect(path string) (Inspection, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return Inspection{}, err
	}
	name, named := backendName(absolute)
	in := Inspection{Path: absolute, Name: name, Reason: ReasonOK, Sentence: "nothing speaks against trying it"}
	info, err := os.Stat(absolute)
	if err != nil {
		return in, err
	}
	in.Bytes = info.Size()
	c := Candidate{Path: absolute, Name: name}
	real, img, err := c.inspect()
	if err != nil {
		c.settle(err)
		in.Reason, in.Sentence = c.Reason, c.Sentence
	}
	in.Manifest = c.Manifest
	if m := c.Manifest; m != nil && *m.ABIMajor == abi.ABIMajor {
		in.Speaks = fmt.Sprintf("%d.%d", abi.ABIMajor, min(*m.ABIMinor, abi.ABIMinor))
	}
	if !named {
		in.Traits = append(in.Traits, Trait{false, "is not named " + FileName("NAME") + ": no folder of backends takes it"})
	}
	if real == "" || !img.entry && !img.hasManifest {
		return in, nil
	}
	in.Exports, in.Runpath = img.exports, img.runpath
	missing := img.unresolved(filepath.Dir(real))
	for _, lib := range img.needed {
		in.Needs = append(in.Needs, Library{lib, !slices.Contains(missing, lib)})
	}
	in.Traits = append(in.Traits, img.judge(name, c.Manifest)...)
	return in, nil
}

// judge names the traits of an image.
func (img image) judge(name string, m *Manifest) (traits []Trait) {
	forbid := func(format string, args ...any) { traits = append(traits, Trait{true, fmt.Sprintf(format, args...)}) }
	doubt := func(format string, args ...any) { traits = append(traits, Trait{false, fmt.Sprintf(format, args...)}) }
	if m != nil && m.Name != name {
		doubt("its manifest says %q, its file name %q: --backend takes the file's", m.Name, name)
	}
	others := slices.DeleteFunc(slices.Clone(img.exports), func(s string) bool { return s == entrySymbol || s == manifestSymbol })
	if len(others) > 0 {
		forbid("exports %s: other libraries may get them instead of their own; link with a version script that leaves %s and %s", few(others), entrySymbol, manifestSymbol)
	}
	for _, lib := range img.needed {
		for _, driver := range drivers {
			if strings.HasPrefix(lib, driver) {
				forbid("links %s: without a driver it cannot even be loaded to say so; open it with dlopen", lib)
			}
		}
	}
	if len(img.calls) > 0 {
		doubt("can call %s: a backend never ends the process, prints, or changes its state", few(img.calls))
	}
	for _, t := range img.hardening {
		traits = append(traits, t)
	}
	return traits
}

// few joins at most eight names.
func few(names []string) string {
	if len(names) > 8 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:8], ", "), len(names)-8)
	}
	return strings.Join(names, ", ")
}

// drivers are beginnings of libraries that come with a driver, and are absent without it.
var drivers = []string{"libcuda.so", "libnvidia-", "libnvcuvid", "libamdhip64", "libhsa-runtime", "libze_loader", "libOpenCL", "libvulkan"}

// processCalls are functions of the C library that end the process, print, or change what
// belongs to the host.
var processCalls = []string{"abort", "exit", "_exit", "_Exit", "quick_exit", "fork", "vfork", "execve", "execvp", "system", "posix_spawn", "signal", "sigaction",
	"raise", "kill", "setlocale", "chdir", "fchdir", "setenv", "putenv", "unsetenv", "clearenv", "umask", "setrlimit", "printf", "puts", "putchar", "perror",
	"stdout", "stderr", "feenableexcept", "fesetround", "atexit", "__cxa_throw", "__assert_fail"}
