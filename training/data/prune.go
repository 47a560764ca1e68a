package data

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// The names of a cache's files, and of one that a run is writing or was killed while it wrote:
// nothing else in the folder is touched.
var (
	cacheFile = regexp.MustCompile(`^[0-9a-f]{64}\.safetensors$`)
	unwritten = regexp.MustCompile(`^\.[0-9a-f]{64}\.safetensors\.tmp-[0-9a-f]{16}$`)
)

// writing is longer than any run takes to write a file.
const writing = time.Hour

// used notes that a file of the cache was read, so that it is pruned after older ones. In a folder
// that others write it keeps its time.
func used(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// prune removes the files that were not used for longest until all are no more than Limit bytes,
// but not keep. Runs that share the folder may prune at once, and one that has opened a file that
// goes reads on.
func (c Cache) prune(keep string) error {
	files, err := c.files()
	if err != nil {
		return err
	}
	total := int64(0)
	for _, f := range files {
		total += f.Size()
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if c.Limit == 0 || total <= c.Limit {
			return nil
		}
		if f.Name() == filepath.Base(keep) {
			continue
		}
		if err := os.Remove(filepath.Join(c.Dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		total -= f.Size()
	}
	return nil
}

// files lists the files of the cache and what killed runs left there.
func (c Cache) files() (files []fs.FileInfo, err error) {
	entries, err := os.ReadDir(c.Dir)
	for _, e := range entries {
		whole, part := cacheFile.MatchString(e.Name()), unwritten.MatchString(e.Name())
		if !e.Type().IsRegular() || !whole && !part {
			continue
		}
		info, stat := e.Info()
		switch {
		case errors.Is(stat, fs.ErrNotExist): // another run removed it
		case stat != nil:
			err = cmp.Or(err, stat)
		case whole || time.Since(info.ModTime()) > writing:
			files = append(files, info)
		}
	}
	return files, err
}
