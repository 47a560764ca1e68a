package modeldir

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"trainer/fault"
)

// hubName is what a repository of the Hub is called.
var hubName = regexp.MustCompile(`^[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?$`)

// IsHubName says whether a name can be that of a repository of the Hub.
func IsHubName(name string) bool { return hubName.MatchString(name) }

// HubCache is where Hugging Face tools keep repositories; empty where there is no home.
func HubCache() string {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if dir := os.Getenv(name); dir != "" {
			return dir
		}
	}
	home := os.Getenv("HF_HOME")
	if home == "" {
		cache := os.Getenv("XDG_CACHE_HOME")
		if cache == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return ""
			}
			cache = filepath.Join(user, ".cache")
		}
		home = filepath.Join(cache, "huggingface")
	}
	return filepath.Join(home, "hub")
}

// RepositoryFolder is where the Hub cache keeps a repository of a kind ("models",
// "datasets"), whether it is there or not.
func RepositoryFolder(kind, name string) string {
	return filepath.Join(HubCache(), kind+"--"+strings.ReplaceAll(name, "/", "--"))
}

// Snapshot is the folder of a repository's files in the Hub cache: the revision that
// refs/main names or, where nothing says which, the folder snapshots/main.
func Snapshot(kind, name string) (dir string, ok bool) {
	if !IsHubName(name) || HubCache() == "" {
		return "", false
	}
	repository := RepositoryFolder(kind, name)
	revision := "main"
	if text, err := os.ReadFile(filepath.Join(repository, "refs", "main")); err == nil {
		revision = strings.TrimSpace(string(text))
	}
	if !IsPlain(revision) {
		return "", false
	}
	dir = filepath.Join(repository, "snapshots", revision)
	info, err := os.Stat(dir)
	return dir, err == nil && info.IsDir()
}

// maxListed bounds the entries of a folder that Names reads.
const maxListed = 10_000

// Names lists the entries of the folder, or of a folder directly inside it where sub is
// not empty, in order of their bytes and without those whose name begins with a dot. It is
// empty where there is no such folder.
func (d *Dir) Names(sub string) ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), filepath.ToSlash(filepath.Join(d.rel, sub)))
	if err != nil {
		if os.IsNotExist(err) || sub != "" {
			return nil, nil
		}
		return nil, openError(d.Path(sub), err)
	}
	if len(entries) > maxListed {
		return nil, &fault.Error{Kind: fault.Files, Where: d.Path(sub), Found: "more than 10000 entries", Want: "a folder of few files"}
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// OpenListed opens a regular file that Names listed, which may have a name that is not
// plain; links are held inside as OpenFile holds them.
func (d *Dir) OpenListed(sub, name string) (*os.File, int64, error) {
	f, err := d.root.OpenFile(filepath.Join(d.rel, sub, name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	return regular(d.Path(filepath.Join(sub, name)), f, err)
}
