package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Folder is a folder being filled beside the place it will have. Nobody sees it before
// Commit. Errors are *fault.Error of kind Disk. It is for one goroutine; defer Abort.
type Folder struct{ path, temp string }

// CreateFolder makes a temporary folder beside path, whose parent must exist.
func CreateFolder(path string) (*Folder, error) {
	f := &Folder{filepath.Clean(path), temporary(path)}
	return f, Error(path, os.Mkdir(f.temp, 0o777))
}

// Temp is where the files are written meanwhile, each durably.
func (f *Folder) Temp() string { return f.temp }

// Commit puts the folder in its place, durably, and removes what was there.
func (f *Folder) Commit() error {
	if err := SyncDir(f.temp); err != nil {
		return err
	}
	old, err := setAside(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		return Error(f.path, err)
	}
	f.temp = ""
	if err := SyncDir(filepath.Dir(f.path)); err != nil || old == "" {
		return err
	}
	return Error(f.path, os.RemoveAll(old))
}

// Abort removes what was written. After Commit it does nothing.
func (f *Folder) Abort() {
	if f.temp != "" {
		_ = os.RemoveAll(f.temp) // a leftover does no harm and is swept later
		f.temp = ""
	}
}

// RemoveFolder removes a folder so that it is never seen with files missing.
func RemoveFolder(path string) error {
	old, err := setAside(path)
	if err != nil {
		return err
	}
	return Error(path, os.RemoveAll(old))
}

// setAside gives a folder a temporary name.
func setAside(path string) (temp string, err error) {
	temp = temporary(path)
	if err := os.Rename(path, temp); err != nil {
		return "", Error(path, err)
	}
	return temp, nil
}
