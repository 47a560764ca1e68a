package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"trainer/files/atomicfile"
)

// Pair is a piece of metadata. Value is a string, bool, uint32, float32, []string, []int32
// or []float32.
type Pair struct {
	Key   string
	Value any
}

// Tensor is a tensor of a file. Shape is row-major, the last dimension a row.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int64
}

// count is the number of elements.
func (t Tensor) count() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// The numbers of the format.
const (
	magic     = "GGUF"
	version   = 3
	alignment = 32

	maxNameBytes = 63
	maxRank      = 4
)

// The type codes of metadata.
const (
	codeUint32  = 4
	codeInt32   = 5
	codeFloat32 = 6
	codeBool    = 7
	codeString  = 8
	codeArray   = 9
)

// Writer streams tensors to a file that appears, whole and durable, with Commit. Where the
// disk refuses, the error is a *fault.Error of kind Disk; other errors are misuse. It is for
// one goroutine; defer Abort.
type Writer struct {
	file    *atomicfile.File
	tensors []Tensor
	at      int   // the tensor being written
	left    int64 // elements of it that lack
	raw     []byte
}

// Create starts a file of metadata and of tensors in the given order.
func Create(path string, metadata []Pair, tensors []Tensor) (*Writer, error) {
	head, err := header(metadata, tensors)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	file, err := atomicfile.Create(path)
	if err != nil {
		return nil, err
	}
	w := &Writer{file: file, tensors: tensors, at: -1}
	if _, err := file.Write(head); err != nil {
		w.Abort()
		return nil, err
	}
	w.next()
	return w, nil
}

// next goes on to the next tensor that has elements.
func (w *Writer) next() {
	for w.left == 0 && w.at < len(w.tensors) {
		if w.at++; w.at < len(w.tensors) {
			w.left = w.tensors[w.at].count()
		}
	}
}

// Write appends values to the tensor name: whole rows, or the whole of a vector, in the
// order of Create.
func (w *Writer) Write(name string, values []float32) error {
	n := int64(len(values))
	if n == 0 {
		return nil
	}
	if w.at >= len(w.tensors) || w.tensors[w.at].Name != name || n > w.left {
		return fmt.Errorf("write %d elements of tensor %q out of turn", n, name)
	}
	t := w.tensors[w.at]
	if !t.Type.Fits(n) {
		return fmt.Errorf("write %d elements of tensor %q, which are no whole blocks", n, name)
	}
	w.raw = t.Type.encode(w.raw[:0], values)
	if w.left -= n; w.left == 0 {
		w.raw = append(w.raw, make([]byte, padding(t.Type.bytes(t.count())))...)
	}
	if _, err := w.file.Write(w.raw); err != nil {
		w.Abort()
		return err
	}
	w.next()
	return nil
}

// Commit makes the file appear, after every tensor was written whole.
func (w *Writer) Commit() error {
	if w.at < len(w.tensors) {
		w.Abort()
		return fmt.Errorf("tensor %q was not written whole", w.tensors[w.at].Name)
	}
	return w.file.Commit()
}

// Abort removes what was written. After Commit it does nothing.
func (w *Writer) Abort() { w.file.Abort() }

// padding is how many bytes lack until the next aligned place.
func padding(n int64) int64 { return (alignment - n%alignment) % alignment }

// header is everything before the first tensor's bytes.
func header(metadata []Pair, tensors []Tensor) ([]byte, error) {
	out := append([]byte(magic), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(out[4:], version)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(tensors)))
	out = binary.LittleEndian.AppendUint64(out, uint64(len(metadata)))
	seen := map[string]bool{}
	for _, p := range metadata {
		var err error
		if out, err = appendPair(out, p); err != nil {
			return nil, err
		}
		if seen[p.Key] {
			return nil, fmt.Errorf("metadata %q is given twice", p.Key)
		}
		seen[p.Key] = true
	}
	offset := int64(0)
	clear(seen)
	for _, t := range tensors {
		if len(t.Shape) == 0 || len(t.Shape) > maxRank || len(t.Name) > maxNameBytes || seen[t.Name] || t.Type.String() == "" || !t.Type.Fits(t.Shape[len(t.Shape)-1]) {
			return nil, fmt.Errorf("tensor %q, %v %v, breaks the format's limits or is given twice", t.Name, t.Type, t.Shape)
		}
		seen[t.Name] = true
		out = binary.LittleEndian.AppendUint32(appendString(out, t.Name), uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) { // rows first
			out = binary.LittleEndian.AppendUint64(out, uint64(d))
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(t.Type))
		out = binary.LittleEndian.AppendUint64(out, uint64(offset))
		bytes := t.Type.bytes(t.count())
		offset += bytes + padding(bytes)
	}
	return append(out, make([]byte, padding(int64(len(out))))...), nil
}

func appendString(out []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(out, uint64(len(s))), s...)
}

func appendPair(out []byte, p Pair) ([]byte, error) {
	out = appendString(out, p.Key)
	u32 := func(v uint32) { out = binary.LittleEndian.AppendUint32(out, v) }
	array := func(code uint32, n int) {
		u32(codeArray)
		u32(code)
		out = binary.LittleEndian.AppendUint64(out, uint64(n))
	}
	switch v := p.Value.(type) {
	case string:
		u32(codeString)
		out = appendString(out, v)
	case bool:
		u32(codeBool)
		out = append(out, map[bool]byte{true: 1}[v])
	case uint32:
		u32(codeUint32)
		u32(v)
	case float32:
		u32(codeFloat32)
		u32(math.Float32bits(v))
	case []string:
		array(codeString, len(v))
		for _, s := range v {
			out = appendString(out, s)
		}
	case []int32:
		array(codeInt32, len(v))
		for _, x := range v {
			u32(uint32(x))
		}
	case []float32:
		array(codeFloat32, len(v))
		for _, x := range v {
			u32(math.Float32bits(x))
		}
	default:
		return nil, fmt.Errorf("metadata %q is a %T", p.Key, p.Value)
	}
	return out, nil
}
