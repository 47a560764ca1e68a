package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"trainer/fault"
)

// PrepareOutput makes an output folder and tries that files can be made in it, so that a
// run fails now and not after hours. A folder that holds anything is refused unless
// overwrite is set; its files stay and are replaced one by one. Temporary files and folders
// that a killed run left do not count and are swept. A link is refused, since somebody else may
// have laid it. Errors are *fault.Error: Usage, or Disk where the file system refuses.
func PrepareOutput(dir string, overwrite bool) error {
	dir = filepath.Clean(dir) // a trailing slash would follow a link
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Error(dir, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return usage(dir, "a symbolic link", "a folder", "name the folder it leads to")
	case !info.IsDir():
		return usage(dir, "a file", "a folder", "choose another --output_dir")
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return Error(dir, err)
	}
	if err := sweep(dir, overwrite); err != nil {
		return err
	}
	probe, err := Create(filepath.Join(dir, "probe"))
	if err != nil {
		return err
	}
	probe.Abort()
	return nil
}

// sweep refuses entries that are in the way and removes leftovers.
func sweep(dir string, overwrite bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Error(dir, err)
	}
	var old []string
	others := 0
	for _, e := range entries {
		if (e.Type().IsRegular() || e.IsDir()) && leftover.MatchString(e.Name()) {
			old = append(old, filepath.Join(dir, e.Name()))
		} else {
			others++
		}
	}
	if others > 0 && !overwrite {
		return usage(dir, fmt.Sprintf("%d entries", others), "an empty folder", "choose another --output_dir, or write over it with --overwrite_output_dir")
	}
	for _, path := range old {
		if err := os.RemoveAll(path); err != nil {
			return Error(path, err)
		}
	}
	return nil
}

func usage(dir, found, want, remedy string) error {
	return &fault.Error{Kind: fault.Usage, Where: "--output_dir " + dir, Found: found, Want: want, Remedy: remedy}
}
