package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"trainer/fault"
	"trainer/files/modeldir"
)

// The names of a model's weights in its folder.
const (
	singleName = "model.safetensors"
	indexName  = "model.safetensors.index.json"
)

// Folder is the weights of a model folder as one set of tensors, whether they lie in one
// file or in shards. Reading is safe from any goroutine. The caller closes it. Errors of its
// functions are *fault.Error of kind Files that name file and tensor.
type Folder struct {
	shards []*File // by name
	home   map[string]*File
}

// OpenFolder opens model.safetensors in dir or, where there is none, the shards that
// model.safetensors.index.json names; each shard must hold exactly the tensors that the
// index says. Links are followed as package modeldir allows.
func OpenFolder(dir string) (*Folder, error) {
	d, err := modeldir.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	folder := &Folder{home: map[string]*File{}}
	switch {
	case d.Exists(singleName):
		err = folder.add(d, singleName, nil)
	case d.Exists(indexName):
		err = folder.openShards(d)
	default:
		err = &fault.Error{Kind: fault.Files, Where: dir, Found: "neither " + singleName + " nor " + indexName, Want: "one of them",
			Remedy: "name a folder that holds a model, converted to safetensors"}
	}
	if err != nil {
		_ = folder.Close() // only read
		return nil, err
	}
	return folder, nil
}

// openShards opens what the index names.
func (f *Folder) openShards(d *modeldir.Dir) error {
	text, err := d.ReadFile(indexName, maxHeader)
	if err != nil {
		return err
	}
	index, err := parseIndex(d.Path(indexName), text)
	if err != nil {
		return err
	}
	for _, shard := range slices.Sorted(maps.Keys(index)) {
		if err := f.add(d, shard, index[shard]); err != nil {
			return err
		}
	}
	return nil
}

// add opens a file; want are the tensors it should hold, nil for whatever it holds.
func (f *Folder) add(d *modeldir.Dir, name string, want []string) error {
	file, err := OpenIn(d, name)
	var sentence *fault.Error
	if errors.As(err, &sentence) && errors.Is(err, fs.ErrNotExist) && len(want) > 0 {
		sentence.Field = tensorField(want[0])
		sentence.Remedy = "the index says that it is in this file: fetch the model again"
	}
	if err != nil {
		return err
	}
	f.shards = append(f.shards, file)
	for _, tensor := range want {
		if _, ok := file.Tensor(tensor); !ok {
			return &fault.Error{Kind: fault.Files, Where: file.Path(), Field: tensorField(tensor), Found: "no such tensor",
				Want: "it, as " + indexName + " says", Remedy: "fetch the model again"}
		}
	}
	for _, tensor := range file.header.tensors {
		f.home[tensor.Name] = file
	}
	if want != nil && len(want) != len(file.header.tensors) {
		return f.stranger(file, want)
	}
	return nil
}

// stranger names a tensor that a shard holds and the index does not place there.
func (f *Folder) stranger(file *File, want []string) error {
	placed := map[string]bool{}
	for _, name := range want {
		placed[name] = true
	}
	for _, t := range file.header.tensors {
		if !placed[t.Name] {
			return &fault.Error{Kind: fault.Files, Where: file.Path(), Field: tensorField(t.Name), Found: "a tensor that the index does not place here",
				Want: "the tensors " + indexName + " names", Remedy: "fetch the model again"}
		}
	}
	return nil
}

// Names lists every tensor, file by file in the order of their names and of their bytes.
func (f *Folder) Names() []string {
	var names []string
	for _, s := range f.shards {
		names = append(names, s.Names()...)
	}
	return names
}

// Tensor finds a tensor. Its Offset counts in the file that Path names.
func (f *Folder) Tensor(name string) (Info, bool) {
	file := f.home[name]
	if file == nil {
		return Info{}, false
	}
	return file.Tensor(name)
}

// Path is the file that holds a tensor, "" where there is none.
func (f *Folder) Path(name string) string {
	if file := f.home[name]; file != nil {
		return file.Path()
	}
	return ""
}

// Files lists the paths of the open files.
func (f *Folder) Files() []string {
	var paths []string
	for _, s := range f.shards {
		paths = append(paths, s.Path())
	}
	return paths
}

// Metadata is that of the first file.
func (f *Folder) Metadata() map[string]string { return f.shards[0].Metadata() }

func (f *Folder) where(name string) string { return f.Path(name) }

// Read fills dst with the tensor's bytes from byte off of the tensor on.
func (f *Folder) Read(info Info, dst []byte, off int64) error {
	file := f.home[info.Name]
	if file == nil {
		return fmt.Errorf("tensor %q is not in this folder", info.Name)
	}
	return file.Read(info, dst, off)
}

// ReadFloat32 reads a whole tensor of F64 (rounded), F32, F16 or BF16.
func (f *Folder) ReadFloat32(info Info) ([]float32, error) {
	return readAll(f, info, floatAt, "F64, F32, F16 or BF16")
}

// ReadInts reads a whole tensor of I64, I32, I16, I8, U32, U16, U8 or BOOL.
func (f *Folder) ReadInts(info Info) ([]int64, error) {
	return readAll(f, info, intAt, "an integer dtype of at most 63 bits")
}

// Close closes every file.
func (f *Folder) Close() error {
	var errs []error
	for _, s := range f.shards {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
