package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"trainer/fault"
	"trainer/files/modeldir"
)

// File is an open GGUF file. It reads what Writer writes, and refuses other types of
// metadata. The caller closes it. Errors are *fault.Error of kind Files.
type File struct {
	Metadata map[string]any
	Tensors  []Tensor

	f       *os.File
	path    string
	size    int64
	at      int64
	offsets map[string]int64
	start   int64
}

// errDamaged is why a file cannot be read.
var errDamaged = errors.New("it is no whole GGUF file of version 3")

// maxEntries bounds tensors, metadata and the elements of a list.
const maxEntries = 1 << 24

// Open opens a file and reads its front.
func Open(path string) (*File, error) {
	f, size, err := modeldir.OpenFile(path)
	if err != nil {
		return nil, err
	}
	file := &File{Metadata: map[string]any{}, f: f, path: path, size: size, offsets: map[string]int64{}}
	if err := file.readHeader(); err != nil {
		_ = f.Close() // only read
		return nil, &fault.Error{Kind: fault.Files, Where: path, Err: err}
	}
	return file, nil
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// Floats reads a whole tensor.
func (f *File) Floats(name string) ([]float32, error) {
	i := slices.IndexFunc(f.Tensors, func(t Tensor) bool { return t.Name == name })
	if i < 0 {
		return nil, &fault.Error{Kind: fault.Files, Where: f.path, Field: "tensor " + name, Found: "no such tensor", Want: "it"}
	}
	t := f.Tensors[i]
	f.at = f.start + f.offsets[name]
	raw, err := f.take(t.Type.bytes(t.count()))
	if err != nil {
		return nil, &fault.Error{Kind: fault.Files, Where: f.path, Field: "tensor " + name, Err: err}
	}
	return t.Type.decode(raw)
}

// take reads the next n bytes.
func (f *File) take(n int64) ([]byte, error) {
	if n < 0 || n > f.size-f.at {
		return nil, errDamaged
	}
	raw := make([]byte, n)
	if _, err := f.f.ReadAt(raw, f.at); err != nil && err != io.EOF {
		return nil, err
	}
	f.at += n
	return raw, nil
}

func (f *File) u32() (uint32, error) {
	raw, err := f.take(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(raw), nil
}

// length reads a count of at most most.
func (f *File) length(most int64) (int64, error) {
	raw, err := f.take(8)
	if err != nil {
		return 0, err
	}
	if n := binary.LittleEndian.Uint64(raw); n <= uint64(most) {
		return int64(n), nil
	}
	return 0, errDamaged
}

func (f *File) text() (string, error) {
	n, err := f.length(f.size)
	if err != nil {
		return "", err
	}
	raw, err := f.take(n)
	return string(raw), err
}

func (f *File) readHeader() error {
	front, err := f.take(8)
	if err != nil || string(front[:4]) != magic || binary.LittleEndian.Uint32(front[4:]) != version {
		return errDamaged
	}
	tensors, err := f.length(maxEntries)
	if err != nil {
		return err
	}
	pairs, err := f.length(maxEntries)
	if err != nil {
		return err
	}
	for range pairs {
		key, err := f.text()
		if err != nil {
			return err
		}
		code, err := f.u32()
		if err != nil {
			return err
		}
		if f.Metadata[key], err = f.value(code); err != nil {
			return fmt.Errorf("metadata %.80q: %w", key, err)
		}
	}
	for range tensors {
		if err := f.readTensor(); err != nil {
			return err
		}
	}
	f.start = f.at + padding(f.at)
	return nil
}

func (f *File) readTensor() error {
	name, err := f.text()
	if err != nil {
		return err
	}
	rank, err := f.u32()
	if err != nil || rank > maxRank {
		return errDamaged
	}
	t, left := Tensor{Name: name}, f.size
	for range rank {
		d, err := f.length(left)
		if err != nil {
			return err
		}
		left /= max(1, d)
		t.Shape = append([]int64{d}, t.Shape...)
	}
	code, err := f.u32()
	if err != nil {
		return err
	}
	t.Type = Type(code)
	if t.Type.String() == "" {
		return fmt.Errorf("tensor %.80q: type %d is not known", name, code)
	}
	f.offsets[name], err = f.length(f.size)
	f.Tensors = append(f.Tensors, t)
	return err
}

// value reads metadata of a type.
func (f *File) value(code uint32) (any, error) {
	switch code {
	case codeString:
		return f.text()
	case codeBool:
		raw, err := f.take(1)
		return err == nil && raw[0] != 0, err
	case codeUint32:
		return f.u32()
	case codeFloat32:
		bits, err := f.u32()
		return math.Float32frombits(bits), err
	case codeArray:
		return f.array()
	}
	return nil, fmt.Errorf("type %d is not read", code)
}

func (f *File) array() (any, error) {
	code, err := f.u32()
	if err != nil {
		return nil, err
	}
	n, err := f.length(maxEntries)
	if err != nil {
		return nil, err
	}
	switch code {
	case codeString:
		return list(n, f.text)
	case codeInt32:
		return list(n, func() (int32, error) { bits, err := f.u32(); return int32(bits), err })
	case codeFloat32:
		return list(n, func() (float32, error) { bits, err := f.u32(); return math.Float32frombits(bits), err })
	}
	return nil, fmt.Errorf("a list of type %d is not read", code)
}

func list[T any](n int64, read func() (T, error)) ([]T, error) {
	var out []T
	for range n {
		v, err := read()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
