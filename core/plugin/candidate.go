package plugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"

	"trainer/fault"
)

// Candidate is a file that was seen while looking for backends, and what became of it.
type Candidate struct {
	Path     string       `json:"path"` // absolute, as it was found
	Name     string       `json:"name"` // of the backend: what stands in the file's name
	Reason   Code         `json:"reason"`
	Sentence string       `json:"sentence"` // why, and what to do
	Manifest *Manifest    `json:"manifest,omitempty"`
	Devices  []DeviceInfo `json:"devices,omitempty"`
	Identity Identity     `json:"identity"`
}

// Usable reports whether the backend passed every stage.
func (c Candidate) Usable() bool { return c.Reason == ReasonOK }

// Identity tells whether a file is still the one that was checked.
type Identity struct {
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
	Bytes    int64  `json:"bytes"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
}

func identityOf(info os.FileInfo) Identity {
	id := Identity{Bytes: info.Size(), Modified: info.ModTime().UnixNano()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		id.Device, id.Inode = uint64(s.Dev), uint64(s.Ino)
	}
	return id
}

// settle writes a stage's verdict into the candidate.
func (c *Candidate) settle(err error) {
	var r *Refusal
	if errors.As(err, &r) {
		c.Reason, c.Sentence = r.Code, r.Text
	} else if err != nil {
		c.Reason, c.Sentence = ReasonPermission, err.Error()
	}
}

// fault is the refusal as an error for the person who asked for this backend.
func (c Candidate) fault() *fault.Error {
	return &fault.Error{Kind: fault.Device, Where: c.Path, Err: fmt.Errorf("backend %s is refused (%s): %s", c.Name, c.Reason, c.Sentence)}
}

// Open loads a backend that Discover found usable. The file must still be the one that
// was tried. The backend lives until the process ends.
func Open(c Candidate) (*Backend, error) {
	if !c.Usable() {
		return nil, c.fault()
	}
	real, err := filepath.EvalSymlinks(c.Path)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Device, Where: c.Path, Err: err}
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Device, Where: c.Path, Err: err}
	}
	if identityOf(info) != c.Identity {
		return nil, &fault.Error{Kind: fault.Device, Where: c.Path, Err: errors.New("the file changed after it was checked"), Remedy: "start again"}
	}
	b, err := Load(c.Name, real)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Device, Where: c.Path, Err: err}
	}
	return b, nil
}

const filePrefix = "trainer-backend-"

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// nativeSuffix is how this system names shared libraries.
func nativeSuffix() string {
	if runtime.GOOS == "darwin" {
		return ".dylib"
	}
	return ".so"
}

// backendName is the NAME of trainer-backend-NAME.so or .dylib; ok is false for any other
// file name, with the best guess of a name.
func backendName(path string) (name string, ok bool) {
	base := filepath.Base(path)
	for _, suffix := range []string{".so", ".dylib"} {
		if stem, has := strings.CutSuffix(base, suffix); has {
			name, ok = strings.CutPrefix(stem, filePrefix)
			return name, ok && validName.MatchString(name)
		}
	}
	return strings.TrimPrefix(base, filePrefix), false
}
