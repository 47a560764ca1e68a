package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"trainer/files/atomicfile"
	"trainer/files/jsonstrict"
)

// Spec is a tensor to be written.
type Spec struct {
	Name  string
	DType string
	Shape []int64
}

// PyTorchMetadata is the metadata that Python's readers ask for.
func PyTorchMetadata() map[string]string { return map[string]string{"format": "pt"} }

// Writer streams tensors to a file that appears, whole and durable, with Commit. Where the
// disk refuses, the error is a *fault.Error of kind Disk, the temporary file is removed and
// what stood at the path stays. Other errors are misuse. It is for one goroutine; defer
// Abort.
type Writer struct {
	file  *atomicfile.File
	specs []Spec
	sizes []int64
	at    int   // the tensor being written
	done  int64 // bytes of it
}

// Create starts a file of the given tensors in the given order, without padding between
// them: wider dtypes first keep every tensor aligned. metadata may be nil.
func Create(path string, specs []Spec, metadata map[string]string) (*Writer, error) {
	text, sizes, err := encodeHeader(specs, metadata)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	file, err := atomicfile.Create(path)
	if err != nil {
		return nil, err
	}
	w := &Writer{file: file, specs: specs, sizes: sizes}
	if _, err := file.Write(text); err != nil {
		w.Abort()
		return nil, err
	}
	w.skipFinished()
	return w, nil
}

// encodeHeader makes the front of a file: the length and the JSON text, padded with spaces
// so that tensors begin at a multiple of 8.
func encodeHeader(specs []Spec, metadata map[string]string) (text []byte, sizes []int64, err error) {
	text = append(make([]byte, 8), '{')
	if len(metadata) > 0 {
		text = append(text, `"__metadata__":{`...)
		for i, key := range slices.Sorted(maps.Keys(metadata)) {
			if i > 0 {
				text = append(text, ',')
			}
			text = jsonstrict.AppendString(append(jsonstrict.AppendString(text, key), ':'), metadata[key])
		}
		text = append(text, '}')
	}
	seen, end := map[string]bool{"__metadata__": true}, int64(0)
	for _, s := range specs {
		size, err := s.bytes()
		if err != nil {
			return nil, nil, err
		}
		if seen[s.Name] || size > math.MaxInt64-end {
			return nil, nil, fmt.Errorf("tensor %q is named twice, or all have more than 2^63 bytes", s.Name)
		}
		seen[s.Name] = true
		if len(text) > 9 {
			text = append(text, ',')
		}
		text = append(jsonstrict.AppendString(text, s.Name), `:{"dtype":`...)
		text = append(jsonstrict.AppendString(text, s.DType), `,"shape":`...)
		text = append(appendInts(text, s.Shape), `,"data_offsets":`...)
		text = append(appendInts(text, []int64{end, end + size}), '}')
		end += size
		sizes = append(sizes, size)
	}
	text = append(text, '}')
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	binary.LittleEndian.PutUint64(text, uint64(len(text)-8))
	return text, sizes, nil
}

func appendInts(out []byte, values []int64) []byte {
	out = append(out, '[')
	for i, v := range values {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, v, 10)
	}
	return append(out, ']')
}

// bytes is the tensor's size, within the limits that readers hold.
func (s Spec) bytes() (int64, error) {
	size, known := dtypeSizes[s.DType]
	total, ok := byteSize(s.Shape, size)
	ok = ok && known && len(s.Shape) <= maxRank && len(s.Name) <= maxName && utf8.ValidString(s.Name) && !strings.Contains(s.Name, "\x00")
	for _, d := range s.Shape {
		ok = ok && d >= 0 && d <= maxDimension
	}
	if !ok {
		return 0, fmt.Errorf("tensor %.80q, %s %v, breaks the format's limits", s.Name, s.DType, s.Shape)
	}
	return total, nil
}

// skipFinished moves on to the next tensor that lacks bytes.
func (w *Writer) skipFinished() {
	for w.at < len(w.specs) && w.done == w.sizes[w.at] {
		w.at, w.done = w.at+1, 0
	}
}

// Write appends bytes to the tensor name, little-endian and row-major. A tensor may come in
// any number of chunks; tensors come in the order of Create.
func (w *Writer) Write(name string, chunk []byte) error {
	if len(chunk) == 0 {
		return nil
	}
	if w.at == len(w.specs) || w.specs[w.at].Name != name || int64(len(chunk)) > w.sizes[w.at]-w.done {
		return fmt.Errorf("write %d bytes of tensor %q out of turn", len(chunk), name)
	}
	if _, err := w.file.Write(chunk); err != nil {
		w.Abort()
		return err
	}
	w.done += int64(len(chunk))
	w.skipFinished()
	return nil
}

// WriteFrom appends everything that r gives to the tensor name.
func (w *Writer) WriteFrom(name string, r io.Reader) error {
	buffer := make([]byte, decodeBytes)
	for {
		n, err := r.Read(buffer)
		if werr := w.Write(name, buffer[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
	}
}

// Commit makes the file appear, after every tensor was written whole.
func (w *Writer) Commit() error {
	if err := w.complete(); err != nil {
		return err
	}
	return w.file.Commit()
}

// Sync is the first half of Commit, for files that belong together: everything is on the
// disk, under a temporary name.
func (w *Writer) Sync() error {
	if err := w.complete(); err != nil {
		return err
	}
	return w.file.Sync()
}

// complete refuses a file that lacks bytes.
func (w *Writer) complete() error {
	if w.at < len(w.specs) {
		w.Abort()
		return fmt.Errorf("tensor %q was not written whole", w.specs[w.at].Name)
	}
	return nil
}

// Rename is the second half: it puts the file in its place. Afterwards the caller syncs the
// folder.
func (w *Writer) Rename() error { return w.file.Rename() }

// Abort removes what was written. After Rename it does nothing.
func (w *Writer) Abort() { w.file.Abort() }
