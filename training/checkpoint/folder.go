package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"trainer/fault"
	"trainer/files/atomicfile"
	"trainer/files/modeldir"
)

// prefix begins the names of checkpoints, as Transformers has it.
const prefix = "checkpoint-"

// Write lays down the checkpoint of a step in dir, durably: fill writes its files, each
// durably, into the folder it is given. A checkpoint of the same step is replaced. Errors
// of the disk are *fault.Error of kind Disk; what was saved before is unchanged.
func Write(dir string, step int, fill func(folder string) error) (path string, err error) {
	path = filepath.Join(dir, prefix+strconv.Itoa(step))
	f, err := atomicfile.CreateFolder(path)
	if err != nil {
		return "", err
	}
	defer f.Abort()
	temp := f.Temp()
	if err := fill(temp); err != nil {
		return "", renamed(err, temp, path)
	}
	if err := writeManifest(temp, step); err != nil {
		return "", renamed(err, temp, path)
	}
	return path, renamed(f.Commit(), temp, path)
}

// renamed lets a sentence name the place a file was meant for.
func renamed(err error, temp, path string) error {
	var e *fault.Error
	if !errors.As(err, &e) {
		return err
	}
	named := *e
	named.Where = strings.Replace(named.Where, temp, path, 1)
	return &named
}

// Check tells whether a folder is a whole checkpoint, and of which step. Errors are
// *fault.Error of kind Files that name the file at fault.
func Check(path string) (step int, err error) {
	dir, err := modeldir.Open(path)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	m, err := readManifest(dir)
	if err != nil {
		return 0, err
	}
	return m.Step, m.check(dir)
}

// Newest finds the whole checkpoint of the highest step in dir; path is empty where there
// is none. refused says what is wrong with each newer one.
func Newest(dir string) (path string, refused []error, err error) {
	all, err := list(dir)
	if err != nil {
		return "", nil, err
	}
	for _, c := range slices.Backward(all) {
		step, err := Check(c.path)
		if err == nil && step != c.step {
			err = damaged(filepath.Join(c.path, ManifestFile), fmt.Sprintf("step %d", step), fmt.Sprintf("%d, as the folder's name says", c.step))
		}
		if err == nil {
			return c.path, refused, nil
		}
		refused = append(refused, err)
	}
	return "", refused, nil
}

// Prune keeps the checkpoint of step, which the run has just saved, and the newest before
// it, limit in all; 0 = no limit. Later ones go too: they are damaged, or of a run that was
// taken back to an earlier step. Folders without a manifest do not count and stay.
func Prune(dir string, limit, step int) error {
	older := 0
	return remove(dir, func(s int) bool {
		if s < step {
			older++
		}
		return s > step || s < step && limit > 0 && older > limit-1
	})
}

// Clear removes all checkpoints of dir. Folders without a manifest stay.
func Clear(dir string) error { return remove(dir, func(int) bool { return true }) }

// remove removes the checkpoints of dir that obsolete says, asked from the highest step
// down.
func remove(dir string, obsolete func(step int) bool) error {
	all, err := list(dir)
	if err != nil {
		return err
	}
	for _, c := range slices.Backward(all) {
		if !c.ours || !obsolete(c.step) {
			continue
		}
		if err := atomicfile.RemoveFolder(c.path); err != nil {
			return err
		}
	}
	return nil
}

// found is a folder that is named like a checkpoint.
type found struct {
	path string
	step int
	ours bool // it has a manifest
}

// list finds the folders named like checkpoints, ascending by step.
func list(dir string) ([]found, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, atomicfile.Error(dir, err)
	}
	var all []found
	for _, e := range entries {
		number, named := strings.CutPrefix(e.Name(), prefix)
		step, err := strconv.Atoi(number)
		if !named || err != nil || strconv.Itoa(step) != number || !e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		_, missing := os.Lstat(filepath.Join(path, ManifestFile))
		all = append(all, found{path, step, missing == nil})
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.step, b.step) })
	return all, nil
}
