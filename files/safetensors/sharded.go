package safetensors

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"trainer/files/atomicfile"
	"trainer/files/jsonstrict"
)

// ModelWriter streams a model's tensors into a folder: model.safetensors where they fit in
// one shard, else shards and their index. Nothing appears before Commit. Errors are as
// Writer's. It is for one goroutine; defer Abort.
type ModelWriter struct {
	dir    string
	groups [][]Spec
	open   []*Writer

	totalParameters, totalBytes int64 // for the index
}

// WriteSharded starts a model of the given tensors, in the given order, in the folder dir,
// which exists. A shard has at most maxShardBytes of tensors, or a single larger tensor.
func WriteSharded(dir string, specs []Spec, maxShardBytes int64) (*ModelWriter, error) {
	m := &ModelWriter{dir: dir}
	used, seen := int64(0), map[string]bool{}
	for i, s := range specs {
		size, err := s.bytes()
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", dir, err)
		}
		if seen[s.Name] {
			return nil, fmt.Errorf("write %s: tensor %q is named twice", dir, s.Name)
		}
		seen[s.Name] = true
		if i == 0 || used > maxShardBytes-size {
			m.groups, used = append(m.groups, nil), 0
		}
		last := len(m.groups) - 1
		m.groups[last] = append(m.groups[last], s)
		used += size
		m.totalBytes += size
		m.totalParameters += size / dtypeSizes[s.DType]
	}
	if len(m.groups) == 0 {
		return nil, fmt.Errorf("write %s: no tensors", dir)
	}
	if err := m.next(); err != nil {
		return nil, err
	}
	return m, nil
}

// shardName is the file name of shard i.
func (m *ModelWriter) shardName(i int) string {
	if len(m.groups) == 1 {
		return singleName
	}
	return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(m.groups))
}

// next starts the next shard.
func (m *ModelWriter) next() error {
	i := len(m.open)
	w, err := Create(filepath.Join(m.dir, m.shardName(i)), m.groups[i], PyTorchMetadata())
	if err != nil {
		m.Abort()
		return err
	}
	m.open = append(m.open, w)
	return nil
}

// Write appends bytes to the tensor name, as Writer's Write does.
func (m *ModelWriter) Write(name string, chunk []byte) error {
	w := m.open[len(m.open)-1]
	for w.at == len(w.specs) && len(m.open) < len(m.groups) && len(chunk) > 0 {
		if err := m.finish(w); err != nil {
			return err
		}
		if err := m.next(); err != nil {
			return err
		}
		w = m.open[len(m.open)-1]
	}
	err := w.Write(name, chunk)
	if err != nil {
		m.Abort()
	}
	return err
}

// finish puts a shard on the disk, under its temporary name.
func (m *ModelWriter) finish(w *Writer) error {
	err := w.Sync()
	if err != nil {
		m.Abort()
	}
	return err
}

// Commit makes the model appear. A model of another number of shards that was in the folder
// is removed. One file replaces another in one step; with shards a crash between the renames
// leaves a folder that readers refuse, never a mixture they accept.
func (m *ModelWriter) Commit() error {
	for len(m.open) < len(m.groups) { // shards of empty tensors only
		if err := m.finish(m.open[len(m.open)-1]); err != nil {
			return err
		}
		if err := m.next(); err != nil {
			return err
		}
	}
	if err := m.finish(m.open[len(m.open)-1]); err != nil {
		return err
	}
	index, err := m.writeIndex()
	if err != nil {
		m.Abort()
		return err
	}
	return m.rename(index)
}

// writeIndex puts the index on the disk, under its temporary name; nil for one shard.
func (m *ModelWriter) writeIndex() (*atomicfile.File, error) {
	if len(m.groups) == 1 {
		return nil, nil
	}
	index, err := atomicfile.Create(filepath.Join(m.dir, indexName))
	if err != nil {
		return nil, err
	}
	if _, err = index.Write(m.indexText()); err == nil {
		err = index.Sync()
	}
	if err != nil {
		index.Abort()
		return nil, err
	}
	return index, nil
}

// indexText is the index as Transformers lays it out.
func (m *ModelWriter) indexText() []byte {
	var places []jsonstrict.Member
	for i, group := range m.groups {
		for _, s := range group {
			places = append(places, jsonstrict.Member{Key: s.Name, Value: jsonstrict.Text(m.shardName(i))})
		}
	}
	text := jsonstrict.Marshal(jsonstrict.Map(
		jsonstrict.Member{Key: "metadata", Value: jsonstrict.Map(
			jsonstrict.Member{Key: "total_parameters", Value: jsonstrict.Integer(m.totalParameters)},
			jsonstrict.Member{Key: "total_size", Value: jsonstrict.Integer(m.totalBytes)})},
		jsonstrict.Member{Key: "weight_map", Value: jsonstrict.Map(places...)}))
	return append(text, '\n')
}

// rename puts shards and index in their places. One file replaces another in one step, but
// shards do not: then what readers look for first goes first and comes last.
func (m *ModelWriter) rename(index *atomicfile.File) error {
	if index != nil {
		defer index.Abort()
		if err := m.remove(func(name string) bool { return name == singleName || name == indexName }); err != nil {
			m.Abort()
			return err
		}
	}
	for _, w := range m.open {
		if err := w.Rename(); err != nil {
			m.Abort()
			return err
		}
	}
	if index != nil {
		if err := index.Rename(); err != nil {
			return err
		}
	}
	if err := atomicfile.SyncDir(m.dir); err != nil {
		return err
	}
	return m.removeStale()
}

var shardPattern = regexp.MustCompile(`^model-\d{5}-of-\d{5}\.safetensors$`)

// removeStale removes the files of a model that was in the folder before.
func (m *ModelWriter) removeStale() error {
	ours := map[string]bool{indexName: len(m.groups) > 1}
	for i := range m.groups {
		ours[m.shardName(i)] = true
	}
	return m.remove(func(name string) bool {
		return !ours[name] && (name == indexName || shardPattern.MatchString(name))
	})
}

// remove removes files of the folder, durably.
func (m *ModelWriter) remove(which func(name string) bool) error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return atomicfile.Error(m.dir, err)
	}
	for _, e := range entries {
		if !which(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(m.dir, e.Name())); err != nil {
			return atomicfile.Error(filepath.Join(m.dir, e.Name()), err)
		}
	}
	return atomicfile.SyncDir(m.dir)
}

// Abort removes what was written and is not in its place yet.
func (m *ModelWriter) Abort() {
	for _, w := range m.open {
		w.Abort()
	}
}
