package safetensors

import (
	"errors"
	"fmt"
	"io"
	"os"

	"trainer/fault"
	"trainer/files/modeldir"
)

// Info is one tensor of a file: row-major, little-endian, Bytes bytes from Offset, which
// counts from the start of the file. Shape is not to be changed.
type Info struct {
	Name          string
	DType         string // as the format names it: F32, BF16, …
	Shape         []int64
	Offset, Bytes int64
}

// File is an open safetensors file whose header was checked. Reading is safe from any
// goroutine. Memory is a small multiple of the header. The caller closes it. Errors of its
// functions are *fault.Error of kind Files that name file and tensor.
type File struct {
	f      *os.File
	header *header
	index  map[string]int32
}

// Open opens and checks the file at path.
func Open(path string) (*File, error) {
	f, size, err := modeldir.OpenFile(path)
	if err != nil {
		return nil, err
	}
	return newFile(f, path, size)
}

// OpenIn opens and checks a file of a folder.
func OpenIn(dir *modeldir.Dir, name string) (*File, error) {
	f, size, err := dir.OpenFile(name)
	if err != nil {
		return nil, err
	}
	return newFile(f, dir.Path(name), size)
}

// newFile takes over f.
func newFile(f *os.File, where string, size int64) (*File, error) {
	h, err := readHeader(f, where, size)
	if err != nil {
		_ = f.Close() // only read
		return nil, err
	}
	file := &File{f, h, make(map[string]int32, len(h.tensors))}
	for i := range h.tensors {
		file.index[h.tensors[i].Name] = int32(i)
	}
	return file, nil
}

// Names lists the tensors in the order of their bytes.
func (f *File) Names() []string {
	names := make([]string, len(f.header.tensors))
	for i := range names {
		names[i] = f.header.tensors[i].Name
	}
	return names
}

// Tensor finds a tensor.
func (f *File) Tensor(name string) (Info, bool) {
	i, ok := f.index[name]
	if !ok {
		return Info{}, false
	}
	return f.header.tensors[i], true
}

// Metadata is the file's own text, usually {"format": "pt"}; nil where there is none.
func (f *File) Metadata() map[string]string { return f.header.metadata }

// Path is the file's path as it was opened.
func (f *File) Path() string { return f.header.where }

func (f *File) where(string) string { return f.header.where }

// Read fills dst with the tensor's bytes from byte off of the tensor on.
func (f *File) Read(info Info, dst []byte, off int64) error {
	if off < 0 || int64(len(dst)) > info.Bytes-off {
		return fmt.Errorf("read %d bytes from %d on of tensor %q, which has %d", len(dst), off, info.Name, info.Bytes)
	}
	if len(dst) == 0 {
		return nil
	}
	_, err := f.f.ReadAt(dst, info.Offset+off)
	if errors.Is(err, io.EOF) {
		err = errors.New("the file became shorter while it was read")
	}
	if err != nil {
		return f.header.inField(tensorField(info.Name), err)
	}
	return nil
}

// ReadFloat32 reads a whole tensor of F64 (rounded), F32, F16 or BF16.
func (f *File) ReadFloat32(info Info) ([]float32, error) {
	return readAll(f, info, floatAt, "F64, F32, F16 or BF16")
}

// ReadInts reads a whole tensor of I64, I32, I16, I8, U32, U16, U8 or BOOL.
func (f *File) ReadInts(info Info) ([]int64, error) {
	return readAll(f, info, intAt, "an integer dtype of at most 63 bits")
}

// Close closes the file.
func (f *File) Close() error {
	if err := f.f.Close(); err != nil {
		return &fault.Error{Kind: fault.Files, Where: f.header.where, Err: err}
	}
	return nil
}
