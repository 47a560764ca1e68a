package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"trainer/fault"
	"trainer/files/atomicfile"
	"trainer/files/jsonstrict"
	"trainer/files/modeldir"
)

// ManifestFile names every other file of a checkpoint. It is written last.
const ManifestFile = "manifest.json"

const (
	manifestFormat  = "trainer checkpoint"
	manifestVersion = 1
	maxManifest     = 16 << 20
)

// manifest is the content of ManifestFile.
type manifest struct {
	Format  string          `json:"format"`
	Version int             `json:"version"`
	Step    int             `json:"step"`
	Files   map[string]file `json:"files"`
}

// file is what a file must be.
type file struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // hexadecimal
}

// writeManifest describes the files of a folder in it.
func writeManifest(dir string, step int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return atomicfile.Error(dir, err)
	}
	folder, err := modeldir.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	m := manifest{manifestFormat, manifestVersion, step, map[string]file{}}
	for _, e := range entries {
		if m.Files[e.Name()], err = describe(folder, e.Name()); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, ManifestFile), append(text, '\n'))
}

// describe reads a file whole.
func describe(dir *modeldir.Dir, name string) (file, error) {
	f, _, err := dir.OpenFile(name)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	if err != nil {
		return file{}, &fault.Error{Kind: fault.Files, Where: dir.Path(name), Err: err}
	}
	return file{n, hex.EncodeToString(hash.Sum(nil))}, nil
}

// readManifest reads and checks the manifest of a folder.
func readManifest(dir *modeldir.Dir) (m manifest, err error) {
	text, err := dir.ReadFile(ManifestFile, maxManifest)
	if err != nil {
		return m, err
	}
	f, err := jsonstrict.ParseFields(dir.Path(ManifestFile), text, jsonstrict.Limits{Bytes: maxManifest})
	if err != nil {
		return m, err
	}
	f.Require("format", "version", "step", "files")
	if m.Format = f.String("format", ""); m.Format != manifestFormat {
		f.Refuse("format", fmt.Sprintf("%.40q", m.Format), fmt.Sprintf("%q", manifestFormat), "name a checkpoint of trainer")
	}
	m.Version = int(f.Int("version", 0, manifestVersion, manifestVersion))
	m.Step = int(f.Int("step", 0, 1, math.MaxInt32))
	m.Files = map[string]file{}
	if files := f.Object("files"); files != nil {
		for _, member := range files.Value().Members() {
			if one := files.Object(member.Key); one != nil {
				m.Files[member.Key] = file{one.Int("bytes", -1, 0, math.MaxInt64), one.String("sha256", "")}
			}
		}
	}
	return m, f.Err()
}

// check compares every file with the manifest, sizes first.
func (m manifest) check(dir *modeldir.Dir) error {
	names := slices.Sorted(maps.Keys(m.Files))
	for _, name := range names {
		f, size, err := dir.OpenFile(name)
		if err != nil {
			return err
		}
		_ = f.Close() // only looked at
		if want := m.Files[name].Bytes; size != want {
			return damaged(dir.Path(name), fmt.Sprintf("%d bytes", size), fmt.Sprintf("%d, as %s says", want, ManifestFile))
		}
	}
	for _, name := range names {
		found, err := describe(dir, name)
		if err != nil {
			return err
		}
		if want := m.Files[name].SHA256; found.SHA256 != want {
			return damaged(dir.Path(name), fmt.Sprintf("SHA-256 %.12s…", found.SHA256), fmt.Sprintf("%.12s…, as %s says", want, ManifestFile))
		}
	}
	return nil
}

func damaged(path, found, want string) error {
	return &fault.Error{Kind: fault.Files, Where: path, Found: found, Want: want, Remedy: "the file is damaged: take another checkpoint"}
}
