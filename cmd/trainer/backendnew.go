package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	kit "trainer"
	"trainer/core/plugin"
	"trainer/fault"
)

// newBackendNew makes `trainer backend new`.
func newBackendNew(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new NAME [flags]",
		Short: "write the project of a backend that compiles at once and can do nothing yet",
		Long: `Writes a folder with the header, a backend whose memory, queues and timelines work and
whose ops are still missing, a Makefile, a CMakeLists.txt, a CI workflow and a README that
leads through the first day. All of it is under 0BSD.`,
		Example: `  trainer backend new foo --lang c
  cd foo && make && trainer backend check trainer-backend-foo.so --tier 0`,
	}
	language := cmd.Flags().String("lang", "c", "`LANGUAGE` the device is programmed in: c, cuda, metal")
	dir := cmd.Flags().String("dir", "", "`FOLDER` to write, which must be empty or not exist (NAME)")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		name, err := oneArgument(args, "NAME", "the name of the backend")
		if err != nil {
			return err
		}
		lang, ok := languages[*language]
		switch {
		case !ok:
			return &fault.Error{Kind: fault.Usage, Where: "--lang", Found: fmt.Sprintf("%.40q", *language), Want: "c, cuda or metal"}
		case !plugin.ValidName(name):
			return &fault.Error{Kind: fault.Usage, Where: "NAME", Found: fmt.Sprintf("%.80q", name),
				Want: "letters, digits, dots, dashes and underscores, at most 64, not auto"}
		}
		if *dir == "" {
			*dir = name
		}
		if err := writeProject(*dir, name, lang); err != nil {
			return err
		}
		c.note("next: cd %s && make && trainer backend inspect %s", *dir, plugin.FileName(name))
		c.result("%s", *dir)
		return nil
	}
	return cmd
}

// oneArgument is the only word behind a command.
func oneArgument(args []string, what, help string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	if len(args) == 0 {
		return "", fault.New(fault.Usage, "%s is missing: %s", what, help)
	}
	return "", &fault.Error{Kind: fault.Usage, Found: fmt.Sprintf("%.60q behind %.60q", args[1], args[0]), Want: "one " + what}
}

// language is what a project has beside the skeleton to program a device.
type language struct {
	make      string   // file of rules put into the Makefile
	files     []string // of the project's folder
	lines     string   // about them, in README.md
	languages string   // of CMake
	sources   string
	defines   string
	libraries string
	packages  string
}

const withDevice = " WITH_DEVICE"

var languages = map[string]language{
	"c": {languages: "C"},
	"cuda": {make: "cuda.mk", files: []string{"device.h", "device.cu"}, languages: "C CUDA", sources: " device.cu", defines: withDevice, libraries: " CUDA::cudart_static",
		packages: "find_package(CUDAToolkit REQUIRED)\n",
		lines:    "| `device.h`, `device.cu` | memory that host and GPU see, and a first kernel, which `fill` may call |\n"},
	"metal": {make: "metal.mk", files: []string{"device.h", "device.m"}, languages: "C OBJC", sources: " device.m", defines: withDevice,
		libraries: ` "-framework Foundation" "-framework Metal"`,
		lines:     "| `device.h`, `device.m` | memory that host and GPU see, and a first kernel, which `fill` may call |\n"},
}

// Where the kit's files stand.
const (
	kitHeader   = "core/abi/trainer_backend.h"
	kitSupport  = "native"
	kitSkeleton = "native/null/trainer-backend-null.c"
	kitProject  = "native/null/project"
)

// project lists the files of a new backend by their path in its folder.
func project(name string, lang language) (map[string]string, error) {
	files := map[string]string{}
	var failed error
	read := func(from string) string {
		text, err := kit.Files.ReadFile(from)
		failed = errors.Join(failed, err)
		return string(text)
	}
	files["trainer_backend.h"] = read(kitHeader)
	entries, err := fs.ReadDir(kit.Files, kitSupport)
	failed = errors.Join(failed, err)
	for _, e := range entries {
		if !e.IsDir() && e.Name() != "LICENSE" {
			files["support/"+e.Name()] = strings.ReplaceAll(read(path.Join(kitSupport, e.Name())), `"../core/abi/trainer_backend.h"`, `"trainer_backend.h"`)
		}
	}
	files["backend.c"] = strings.NewReplacer(`#include "../`, `#include "support/`, `BACKEND_NAME "null"`, `BACKEND_NAME "`+name+`"`,
		path.Base(kitSkeleton), "backend.c").Replace(read(kitSkeleton))
	rules := ""
	if lang.make != "" {
		rules = read(path.Join(kitProject, lang.make))
	}
	fill := strings.NewReplacer("@NAME@", name, "@BUILD@\n", rules+"\n", "@LANGUAGES@", lang.languages, "@DEVICE_SOURCES@", lang.sources,
		"@DEFINITIONS@", lang.defines, "@LIBRARIES@", lang.libraries, "@PACKAGES@\n", lang.packages, "@DEVICE_FILES@\n", lang.lines+"\n")
	for from, to := range map[string]string{"Makefile": "Makefile", "CMakeLists.txt": "CMakeLists.txt", "README.md": "README.md",
		"ci.yml": ".github/workflows/backend.yml", "gitignore": ".gitignore"} {
		files[to] = fill.Replace(read(path.Join(kitProject, from)))
	}
	for _, f := range lang.files {
		files[f] = read(path.Join(kitProject, f))
	}
	files["LICENSE"] = read(path.Join(kitSupport, "LICENSE"))
	return files, failed
}

// writeProject writes a project into a folder that is empty or does not exist.
func writeProject(dir, name string, lang language) error {
	entries, err := os.ReadDir(dir)
	switch {
	case len(entries) > 0:
		return &fault.Error{Kind: fault.Usage, Where: "--dir " + dir, Found: "a folder with files in it", Want: "an empty one, or none yet"}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return &fault.Error{Kind: fault.Usage, Where: "--dir " + dir, Err: err}
	}
	files, err := project(name, lang)
	if err != nil {
		return err
	}
	for at, text := range files {
		full := filepath.Join(dir, filepath.FromSlash(at))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return &fault.Error{Kind: fault.Disk, Where: full, Err: err}
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			return &fault.Error{Kind: fault.Disk, Where: full, Err: err}
		}
	}
	return nil
}
