package atomicfile

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"trainer/fault"
)

// File is a file being written beside the place it will have. Nobody sees it before Rename.
// An error is final: nothing is retried, above all no fsync, which may succeed the second
// time although the kernel dropped the pages. Errors are *fault.Error of kind Disk. It is
// for one goroutine; the caller ends with Commit, with Sync and Rename, or with Abort.
type File struct {
	path, temp string
	f          *os.File
	buffer     *bufio.Writer
	err        error
}

// leftover matches temporary names, so that a later run can sweep what a kill left.
var leftover = regexp.MustCompile(`^\..+\.tmp-[0-9a-f]{16}$`)

// temporary is a name beside path that nobody else uses.
func temporary(path string) string {
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails
	dir, name := filepath.Split(filepath.Clean(path))
	return filepath.Join(dir, "."+name+".tmp-"+hex.EncodeToString(nonce[:]))
}

// Create opens a temporary file in the folder of path, which must exist. Its permissions
// are what the umask leaves of 0666.
func Create(path string) (*File, error) {
	temp := temporary(path)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, Error(path, err)
	}
	return &File{path: path, temp: temp, f: f, buffer: bufio.NewWriterSize(f, 1<<18)}, nil
}

// Write appends p.
func (f *File) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.buffer.Write(p)
	f.err = Error(f.path, err)
	return n, f.err
}

// Path is the place the file will have.
func (f *File) Path() string { return f.path }

// Sync writes everything to the disk and closes the file, which keeps its temporary name.
// After an error the temporary file is gone.
func (f *File) Sync() error {
	if f.err == nil {
		f.err = Error(f.path, f.buffer.Flush())
	}
	if f.err == nil {
		f.err = Error(f.path, f.f.Sync())
	}
	if f.err == nil {
		f.err = Error(f.path, f.f.Close())
		f.f = nil
	}
	if f.err != nil {
		f.Abort()
	}
	return f.err
}

// Rename puts a file that was synced in its place, replacing what is there. It lasts once
// SyncDir was called on the folder.
func (f *File) Rename() error {
	if f.err == nil {
		f.err = Error(f.path, os.Rename(f.temp, f.path))
	}
	if f.err != nil {
		f.Abort()
	}
	f.temp = ""
	return f.err
}

// Commit is Sync, Rename and SyncDir.
func (f *File) Commit() error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Rename(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(f.path))
}

// Abort removes the temporary file. After Rename it does nothing, so it may be deferred.
func (f *File) Abort() {
	if f.f != nil {
		_ = f.f.Close() // its content is given up
		f.f = nil
	}
	if f.temp != "" {
		_ = os.Remove(f.temp) // a leftover does no harm and is swept later
		f.temp = ""
	}
	if f.err == nil {
		f.err = errors.New("the file was given up")
	}
}

// WriteFile replaces the content of path with data, durably.
func WriteFile(path string, data []byte) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

// SyncDir makes renames in a folder last. File systems that cannot are left to their ways.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return Error(dir, err)
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return Error(dir, err)
}

// Error is the sentence, of kind Disk, about an operation of the operating system on path
// that failed; nil for nil.
func Error(path string, err error) error {
	if err == nil {
		return nil
	}
	e := &fault.Error{Kind: fault.Disk, Where: path, Err: err, Remedy: "what was saved before is unchanged"}
	var inner *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &inner):
		e.Err = inner.Err
	case errors.As(err, &link):
		e.Err = link.Err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		e.Remedy = "free some space or choose another output_dir; what was saved before is unchanged"
	}
	return e
}
