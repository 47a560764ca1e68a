package surgery

import (
	"fmt"
	"math"

	"trainer/fault"
	"trainer/files/safetensors"
	"trainer/llama"
)

// Source is where a model's values come from. Rows fills dst, whole rows of a tensor, from
// row first on; a vector has one row. It is for one goroutine.
type Source interface {
	Rows(tensor string, first int64, dst []float32) error
}

// Base is an open model folder whose tensors fit its config. The caller closes it.
type Base struct {
	Dir    string
	Config llama.Config
	folder *safetensors.Folder
	shapes map[string][]int64 // of the model's tensors
	raw    []byte             // reused by Rows
}

// OpenBase opens and checks a model folder. Errors are *fault.Error of kind Files.
func OpenBase(dir string) (*Base, error) {
	config, err := llama.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	folder, err := safetensors.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	if err := checkDense(config, folder); err != nil {
		_ = folder.Close() // only read
		return nil, err
	}
	b := &Base{Dir: dir, Config: config, folder: folder, shapes: map[string][]int64{}}
	for _, t := range config.Tensors() {
		b.shapes[t.Name] = t.Shape
	}
	return b, nil
}

// checkDense checks the tensors, and refuses a model whose values were given up for codes.
func checkDense(c llama.Config, folder *safetensors.Folder) error {
	if err := llama.CheckWeights(c, folder); err != nil {
		return err
	}
	stored, err := llama.Quantised(c, folder)
	if err != nil {
		return err
	}
	for _, t := range c.Tensors() {
		if stored.Has(t.Name) {
			return &fault.Error{Kind: fault.Files, Where: folder.Path(stored.Codes(t.Name)), Field: fmt.Sprintf("tensor %q", t.Name), Found: "a quantised weight",
				Want: "one of 16 or 32 bits", Remedy: "name the folder of the original weights"}
		}
	}
	return nil
}

// Close closes the files.
func (b *Base) Close() error { return b.folder.Close() }

// dtype is what a tensor is stored in.
func (b *Base) dtype(tensor string) string {
	info, _ := b.folder.Tensor(tensor)
	return info.DType
}

// dtypeNames are the dtypes of tensors as config.json names them.
var dtypeNames = map[string]string{"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}

// DType is that of the model, by its embedding, as config.json names it.
func (b *Base) DType() string { return dtypeNames[b.dtype(b.Config.Tensors()[0].Name)] }

// Rows implements Source with what is stored. Values that are not finite are refused.
func (b *Base) Rows(tensor string, first int64, dst []float32) error {
	info, ok := b.folder.Tensor(tensor)
	if !ok {
		return fmt.Errorf("tensor %s is missing", tensor)
	}
	size, _ := safetensors.DTypeSize(info.DType)
	if n := int64(len(dst)) * size; int64(cap(b.raw)) < n {
		b.raw = make([]byte, n)
	}
	raw := b.raw[:int64(len(dst))*size]
	width := info.Shape[len(info.Shape)-1]
	if err := b.folder.Read(info, raw, first*width*size); err != nil {
		return err
	}
	safetensors.DecodeFloats(dst, raw, info.DType)
	return checkFinite(b.folder.Path(tensor), tensor, dst, first*width)
}

// checkFinite refuses a value that is not a number; at is the element dst begins with.
func checkFinite(file, tensor string, values []float32, at int64) error {
	for i, x := range values {
		if x-x != 0 {
			return &fault.Error{Kind: fault.Files, Where: file, Field: fmt.Sprintf("tensor %q: element %d", tensor, at+int64(i)),
				Found: fmt.Sprint(x), Want: "a finite number", Remedy: "the file is damaged: fetch or write it again"}
		}
	}
	return nil
}

// chunkElements is about how many elements of a tensor are in memory at a time.
const chunkElements = 1 << 22

// eachChunk calls do with successive runs of rows of a tensor, as many as chunkElements
// hold, at least one. The slice is reused.
func eachChunk(src Source, tensor string, shape []int64, do func(first int64, values []float32) error) error {
	return eachGroup(src, tensor, shape, 1, do)
}

// eachGroup is eachChunk with runs of whole groups of so many rows; the groups fill the
// tensor.
func eachGroup(src Source, tensor string, shape []int64, group int64, do func(first int64, values []float32) error) error {
	rows, width := rowsOf(shape)
	step := min(rows, max(1, chunkElements/max(1, width*group))*group)
	buffer := make([]float32, step*width)
	for first := int64(0); first < rows; first += step {
		chunk := buffer[:min(step, rows-first)*width]
		if err := src.Rows(tensor, first, chunk); err != nil {
			return err
		}
		if err := do(first, chunk); err != nil {
			return err
		}
	}
	return nil
}

// rowsOf views a tensor as rows; a vector is one.
func rowsOf(shape []int64) (rows, width int64) {
	width, rows = shape[len(shape)-1], 1
	for _, d := range shape[:len(shape)-1] {
		rows *= d
	}
	return rows, width
}

// norm is the L2 norm of a row.
func norm(row []float32) float64 {
	sum := 0.0
	for _, x := range row {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}
