package modeldir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"trainer/fault"
)

// Dir is an open folder. Its methods may be called from any goroutine; the caller closes it.
// Files opened through it stay open when it is closed.
type Dir struct {
	path string // as the person wrote it
	root *os.Root
	rel  string // the folder inside root
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// IsPlain says whether a name found in a file may be joined to a folder: a base name of
// letters, digits, '.', '_' and '-', neither "." nor "..".
func IsPlain(name string) bool {
	return plainName.MatchString(name) && name != "." && name != ".."
}

// Open opens the folder at path, which may itself be a link. In a Hugging Face cache, where
// models--ORG--NAME/snapshots/REV/FILE links to ../../blobs/HASH, links may lead anywhere
// inside models--ORG--NAME, and inside datasets--ORG--NAME likewise. Errors are *fault.Error of kind Files.
func Open(path string) (*Dir, error) {
	real, err := filepath.Abs(path)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return nil, openError(path, err)
	}
	if info, err := os.Stat(real); err != nil {
		return nil, openError(path, err)
	} else if !info.IsDir() {
		return nil, &fault.Error{Kind: fault.Files, Where: path, Found: describe(info.Mode()), Want: "a folder"}
	}
	outer, rel := repository(real)
	root, err := os.OpenRoot(outer)
	if err != nil {
		return nil, openError(path, err)
	}
	return &Dir{path, root, rel}, nil
}

func isRepository(folder string) bool {
	return strings.HasPrefix(folder, "models--") || strings.HasPrefix(folder, "datasets--")
}

// repository splits .../models--X/snapshots/REV/... at the end of models--X; other paths
// are roots themselves.
func repository(real string) (root, rel string) {
	parts := strings.Split(real, string(filepath.Separator))
	for i := len(parts) - 3; i > 0; i-- {
		if isRepository(parts[i]) && parts[i+1] == "snapshots" {
			return strings.Join(parts[:i+1], string(filepath.Separator)), filepath.Join(parts[i+1:]...)
		}
	}
	return real, "."
}

// Path is a file's path as the person would write it, for sentences.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Exists says whether the folder has an entry of that name, whatever it is.
func (d *Dir) Exists(name string) bool {
	_, err := d.root.Lstat(filepath.Join(d.rel, name))
	return err == nil
}

// OpenFile opens a regular file for reading and returns its size; name is plain. Errors are
// *fault.Error of kind Files; errors.Is(err, fs.ErrNotExist) works.
func (d *Dir) OpenFile(name string) (*os.File, int64, error) {
	if !IsPlain(name) {
		return nil, 0, &fault.Error{Kind: fault.Files, Where: d.path, Found: fmt.Sprintf("the file name %.80q", name),
			Want: "a name of letters, digits, '.', '_' and '-'", Remedy: "fetch the files from a source you trust"}
	}
	f, err := d.root.OpenFile(filepath.Join(d.rel, name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	return regular(d.Path(name), f, err)
}

// OpenFile opens a regular file that a person named, following links.
func OpenFile(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	return regular(path, f, err)
}

// regular finishes opening a file: anything but a regular file is closed and refused.
func regular(path string, f *os.File, err error) (*os.File, int64, error) {
	if err != nil {
		return nil, 0, openError(path, err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, openError(path, err)
	}
	if !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, 0, &fault.Error{Kind: fault.Files, Where: path, Found: describe(info.Mode()), Want: "a regular file"}
	}
	return f, info.Size(), nil
}

// ReadFile reads a file of at most limit bytes.
func (d *Dir) ReadFile(name string, limit int64) ([]byte, error) {
	f, size, err := d.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, openError(d.Path(name), err)
	}
	if size = max(size, int64(len(data))); size > limit {
		return nil, &fault.Error{Kind: fault.Files, Where: d.Path(name), Found: fmt.Sprintf("%d bytes", size), Want: fmt.Sprintf("at most %d", limit)}
	}
	return data, nil
}

// Close closes the folder.
func (d *Dir) Close() error { return d.root.Close() }

// openError says in a person's words why a file or folder does not open.
func openError(path string, err error) error {
	e := &fault.Error{Kind: fault.Files, Where: path, Err: err}
	var inner *fs.PathError
	if errors.As(err, &inner) {
		e.Err = inner.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Err = fs.ErrNotExist
	case strings.Contains(err.Error(), "escapes"):
		e.Err, e.Remedy = errors.New("it is a link that leads out of the folder"), "put a copy of the file in its place"
	}
	return e
}

func describe(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	case mode.IsRegular():
		return "a file"
	}
	return "something that is not a file"
}
