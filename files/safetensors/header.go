package safetensors

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"trainer/fault"
	"trainer/files/jsonstrict"
)

// What a file may hold.
const (
	maxHeader    = 100_000_000
	maxTensors   = 1 << 20
	maxRank      = 8
	maxDimension = 1<<48 - 1
	maxName      = 512
)

const refetch = "the file is damaged: fetch or write it again"

// header is what the front of a file says.
type header struct {
	where    string // the file, for sentences
	size     int64  // bytes of the file
	start    int64  // where tensors begin
	tensors  []Info
	metadata map[string]string
}

// readHeader reads and checks the front of a file of size bytes. Memory is a small multiple
// of the header.
func readHeader(f *os.File, where string, size int64) (*header, error) {
	h := &header{where: where, size: size}
	text, err := h.text(f)
	if err != nil {
		return nil, err
	}
	h.tensors = make([]Info, 0, min(len(text)/64, maxTensors)) // most entries take more bytes
	d, err := jsonstrict.NewDecoder(text, jsonstrict.Limits{Bytes: maxHeader})
	if err == nil {
		err = d.Object(func(key string) error { return h.member(d, key) })
	}
	if err == nil {
		err = d.End()
	}
	if err != nil {
		return nil, h.inField("header", err)
	}
	return h, h.layout()
}

// text reads the JSON text.
func (h *header) text(f *os.File) ([]byte, error) {
	var front [8]byte
	if h.size < 8 {
		return nil, h.refuse("header", fmt.Sprintf("a file of %d bytes", h.size), "at least 8")
	}
	if _, err := f.ReadAt(front[:], 0); err != nil {
		return nil, h.inField("header", err)
	}
	n := binary.LittleEndian.Uint64(front[:])
	if n > maxHeader {
		return nil, h.refuse("header", fmt.Sprintf("a length of %d bytes", n), fmt.Sprintf("at most %d", maxHeader))
	}
	if h.start = 8 + int64(n); h.start > h.size {
		return nil, h.refuse("header", fmt.Sprintf("a length of %d bytes in a file of %d", n, h.size), "a header that ends inside the file")
	}
	text := make([]byte, n)
	if _, err := f.ReadAt(text, 8); err != nil {
		return nil, h.inField("header", err)
	}
	return text, nil
}

// refuse is the sentence about a field of the file.
func (h *header) refuse(field, found, want string) error {
	return &fault.Error{Kind: fault.Files, Where: h.where, Field: field, Found: found, Want: want, Remedy: refetch}
}

// inField gives an error that is not a sentence yet its file and field.
func (h *header) inField(field string, err error) error {
	var sentence *fault.Error
	if err == nil || errors.As(err, &sentence) {
		return err
	}
	return &fault.Error{Kind: fault.Files, Where: h.where, Field: field, Err: err, Remedy: refetch}
}

// member reads one member of the header: metadata or a tensor, offsets relative to the
// tensors' start.
func (h *header) member(d *jsonstrict.Decoder, name string) error {
	if name == "__metadata__" {
		h.metadata = map[string]string{}
		return h.inField(name, d.Object(func(key string) (err error) {
			h.metadata[key], err = d.String()
			return err
		}))
	}
	switch {
	case len(h.tensors) == maxTensors:
		return h.refuse(tensorField(name), "more tensors", fmt.Sprintf("at most %d", maxTensors))
	case len(name) > maxName:
		return h.refuse(tensorField(name), fmt.Sprintf("a name of %d bytes", len(name)), fmt.Sprintf("at most %d", maxName))
	case strings.Contains(name, "\x00"):
		return h.refuse(tensorField(name), "a name with a NUL", "a name without")
	}
	info := Info{Name: name}
	if err := h.tensor(d, &info); err != nil {
		return h.inField(tensorField(name), err)
	}
	h.tensors = append(h.tensors, info)
	return nil
}

// tensor reads the members of one tensor and checks its size against its shape.
func (h *header) tensor(d *jsonstrict.Decoder, info *Info) error {
	var offsets []int64
	var dtype, shape, place bool
	err := d.Object(func(key string) (err error) {
		switch key {
		case "dtype":
			dtype = true
			info.DType, err = d.String()
		case "shape":
			shape = true
			info.Shape, err = h.integers(d, info.Name, "shape", maxRank, maxDimension)
		case "data_offsets":
			place = true
			offsets, err = h.integers(d, info.Name, "data_offsets", 2, math.MaxInt64)
		default:
			err = d.Skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if !dtype || !shape || !place || len(offsets) != 2 {
		return h.refuse(tensorField(info.Name), "an entry that lacks one of them", "dtype, shape and two data_offsets")
	}
	size, known := dtypeSizes[info.DType]
	if !known {
		return h.refuse(tensorField(info.Name), fmt.Sprintf("dtype %.40q", info.DType), "a dtype of the format, as F32 or BF16")
	}
	info.Offset, info.Bytes = offsets[0], offsets[1]-offsets[0]
	want, ok := byteSize(info.Shape, size)
	if !ok {
		return h.refuse(tensorField(info.Name), fmt.Sprintf("shape %v", info.Shape), "fewer than 2^63 bytes")
	}
	if info.Bytes != want {
		return h.refuse(tensorField(info.Name), fmt.Sprintf("data_offsets %v", offsets), fmt.Sprintf("%d bytes for %s %v", want, info.DType, info.Shape))
	}
	return nil
}

// integers reads a list of at most count integers from 0 to high.
func (h *header) integers(d *jsonstrict.Decoder, tensor, name string, count int, high int64) ([]int64, error) {
	values := make([]int64, 0, 2)
	err := d.Array(func() error {
		v, err := d.Int()
		if err != nil {
			return err
		}
		if v < 0 || v > high {
			return h.refuse(tensorField(tensor), fmt.Sprintf("%d in %s", v, name), fmt.Sprintf("an integer from 0 to %d", high))
		}
		if len(values) == count {
			return h.refuse(tensorField(tensor), fmt.Sprintf("more than %d numbers in %s", count, name), fmt.Sprintf("at most %d", count))
		}
		values = append(values, v)
		return nil
	})
	return values, err
}

// byteSize is the size of a shape; ok is false where the product of its dimensions, zeros
// left out, exceeds 63 bits.
func byteSize(shape []int64, size int64) (total int64, ok bool) {
	product, empty := size, false
	for _, d := range shape {
		if d == 0 {
			empty = true
			continue
		}
		if product > math.MaxInt64/d {
			return 0, false
		}
		product *= d
	}
	if empty {
		return 0, true
	}
	return product, true
}

// layout orders the tensors by their bytes, which must cover the rest of the file once, and
// makes offsets count from the start of the file.
func (h *header) layout() error {
	slices.SortFunc(h.tensors, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Bytes, b.Bytes), strings.Compare(a.Name, b.Name))
	})
	data, end := h.size-h.start, int64(0)
	for i := range h.tensors {
		t := &h.tensors[i]
		if t.Offset != end || t.Bytes > data-end {
			return h.misplaced(*t, end)
		}
		end = t.Offset + t.Bytes
		t.Offset += h.start
	}
	if end != data {
		return h.refuse("header", fmt.Sprintf("%d bytes after the last tensor", data-end), "none")
	}
	return nil
}

// misplaced says what is wrong with a tensor's place, where the tensor before it ends at end.
func (h *header) misplaced(t Info, end int64) error {
	field, found := tensorField(t.Name), fmt.Sprintf("data_offsets [%d, %d]", t.Offset, t.Offset+t.Bytes)
	switch {
	case t.Offset < end:
		return h.refuse(field, found, fmt.Sprintf("a start of %d: it overlaps the tensor before it", end))
	case t.Offset > end:
		return h.refuse(field, found, fmt.Sprintf("a start of %d: there is a hole before it", end))
	}
	return h.refuse(field, fmt.Sprintf("a file of %d bytes", h.size),
		fmt.Sprintf("at least %d: the file is cut off or the offset is out of range", satAdd(h.start, t.Offset+t.Bytes)))
}

// satAdd adds sizes without overflow.
func satAdd(a, b int64) int64 {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}
