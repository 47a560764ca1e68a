package training

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/session"
	"trainer/fault"
	"trainer/files/safetensors"
)

// Source is where base weights come from: little-endian tensors by name, of the shapes
// the model's specs say, checked before. ReadAt fills dst from byte offset on; any number of
// goroutines may call it.
type Source interface {
	DType(name string) abi.DType
	Path(name string) string // the file a person knows it by
	ReadAt(name string, dst []byte, offset int64) error
	// Format is how a matrix is stored. Of one that is quantised, DType says nothing and ReadAt
	// reads the codes as they lie in the file.
	Format(name string) abi.QuantFormat
	// Operands are those of a matrix that is stored quantised; nil those its format has not.
	Operands(name string) ([abi.WeightOperands][]byte, error)
}

// load streams the base weights into their states, tensor by tensor, never a second copy of
// the model. A value that is not finite is refused.
func (e *Engine) load(src Source) error {
	for _, spec := range e.Net.Model.Specs() {
		var err error
		if w := e.Net.matrices[spec.Name]; w != nil {
			err = e.loadMatrix(src, w)
		} else {
			err = e.copy(src, spec.Name, nil, e.Net.vectors[spec.Name])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loadMatrix fills a matrix: as it is stored, or through a program that changes its format.
func (e *Engine) loadMatrix(src Source, w *op.Weight) error {
	if w.Format == src.Format(w.Name) {
		return e.fill(src, nil, w)
	}
	c, err := e.converter(src, w)
	if err != nil {
		return err
	}
	if err := e.fill(src, c.program, c.from); err != nil {
		return err
	}
	_, err = e.Session.Run(session.Run{Params: e.params(0, 0, 0), Parts: []session.Part{{Program: c.program}}})
	return err
}

// fill writes what is stored of a matrix to the roots of a weight of its name and format.
func (e *Engine) fill(src Source, p *session.Program, w *op.Weight) error {
	if v := w.Dense(); v != nil {
		return e.copy(src, w.Name, p, v)
	}
	operands, err := src.Operands(w.Name)
	if err != nil {
		return err
	}
	for slot, v := range w.Operands {
		if v == nil {
			continue
		}
		if v.DType == abi.F32 {
			values := make([]float32, v.Count())
			decode(values, operands[slot], abi.F32)
			if err := checkFinite(src.Path(w.Name), v.Name, values, 0); err != nil {
				return err
			}
		}
		if err := e.Session.Write(p, v, 0, operands[slot]); err != nil {
			return err
		}
	}
	return nil
}

// loadKey is what decides how much memory a converter needs.
type loadKey struct {
	out, in  int64
	dtype    abi.DType
	from, to abi.QuantFormat
}

// converter is a program that turns a matrix as it is stored, which lies in the arena, into
// the weight of the model: it quantises a dense one, and dequantises a table.
type converter struct {
	from    *op.Weight
	program *session.Program
}

// planLoad compiles, on trial, what load will run, so that the arena is large enough.
func (e *Engine) planLoad(src Source) error {
	seen := map[loadKey]bool{}
	for _, w := range e.Net.matrices {
		key := loadKey{w.Out, w.In, src.DType(w.Name), src.Format(w.Name), w.Format}
		if key.from == key.to || seen[key] {
			continue
		}
		seen[key] = true
		if _, err := e.converter(src, w); err != nil {
			return err
		}
	}
	return nil
}

// converter compiles the program of one weight.
func (e *Engine) converter(src Source, w *op.Weight) (*converter, error) {
	b, c := op.NewBuilder(), &converter{}
	if f := src.Format(w.Name); f.Format == abi.FormatDense {
		c.from = op.DenseWeight(b.Fixed(w.Name, src.DType(w.Name), w.Out, w.In))
		b.Quantise(w, c.from.Dense())
	} else {
		c.from = op.NewWeight(w.Name, op.Transient, f, w.Out, w.In)
		b.Dequantise(w.Dense(), c.from)
	}
	var err error
	if c.program, err = e.Session.CompileOnce(b.Graph); err != nil {
		return nil, err
	}
	e.arenas.took(phaseLoad, c.program)
	return c, nil
}

// copy streams a tensor into a root, converting to the root's dtype.
func (e *Engine) copy(src Source, name string, p *session.Program, v *op.Value) error {
	from, to := src.DType(name), v.DType
	return e.Session.Fill(p, v, func(dst []byte, at int64) error {
		return inParallel(len(dst), func(begin, end int) error {
			return convert(src, name, dst[begin:end], (at+int64(begin))/int64(to.Size()), from, to)
		})
	})
}

// loadPart is how many bytes one goroutine reads at a time, and loadParts how many do.
const (
	loadPart  = 1 << 19
	loadParts = 8
)

// inParallel runs do over parts of n bytes and returns the first part's error.
func inParallel(n int, do func(begin, end int) error) error {
	errs := make([]error, (n+loadPart-1)/loadPart)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(loadParts, runtime.GOMAXPROCS(0), len(errs)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(errs); i = int(next.Add(1)) - 1 {
				errs[i] = do(i*loadPart, min(n, (i+1)*loadPart))
			}
		})
	}
	workers.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// convert reads elements from number `at` on into dst, in dtype to, and refuses what is not
// finite.
func convert(src Source, name string, dst []byte, at int64, from, to abi.DType) error {
	if from == to {
		if err := src.ReadAt(name, dst, at*int64(from.Size())); err != nil {
			return err
		}
		if allFinite(dst, from) {
			return nil
		}
	}
	n := len(dst) / to.Size()
	raw, values := make([]byte, n*from.Size()), make([]float32, n)
	if err := src.ReadAt(name, raw, at*int64(from.Size())); err != nil {
		return err
	}
	decode(values, raw, from)
	if err := checkFinite(src.Path(name), name, values, at); err != nil {
		return err
	}
	encode(dst[:0], values, to)
	if to == abi.F16 && !allFinite(dst, to) {
		return checkHalf(src.Path(name), name, dst, values, at)
	}
	return nil
}

// checkHalf refuses finite values that are infinite in f16.
func checkHalf(path, name string, half []byte, values []float32, at int64) error {
	for i, x := range values {
		if binary.LittleEndian.Uint16(half[2*i:])&0x7c00 == 0x7c00 {
			return &fault.Error{Kind: fault.Usage, Where: path, Field: fmt.Sprintf("tensor %q: element %d", name, at+int64(i)), Found: fmt.Sprint(x),
				Want: "at most 65504, as fp16_autocast keeps weights in 16 bits", Remedy: "set --precision bf16_autocast or fp32"}
		}
	}
	return nil
}

// exponents are the bits of a dtype that are all set where a number is not finite,
// repeated over 64 bits, and the lowest of them.
var exponents = map[abi.DType][2]uint64{
	abi.F32:  {0x7F800000_7F800000, 0x00800000_00800000},
	abi.BF16: {0x7F807F80_7F807F80, 0x00800080_00800080},
	abi.F16:  {0x7C007C00_7C007C00, 0x04000400_04000400},
}

// allFinite looks at eight bytes at a time: adding the lowest bit of an exponent of ones
// carries into the sign, and nothing else does. It may say no where a closer look is due.
func allFinite(raw []byte, d abi.DType) bool {
	e, known := exponents[d]
	if !known || len(raw)%8 != 0 {
		return false
	}
	signs, found := (e[0]+e[1])&^e[0], uint64(0)
	for i := 0; i+8 <= len(raw); i += 8 {
		found |= (binary.LittleEndian.Uint64(raw[i:])&e[0] + e[1]) & signs
	}
	return found == 0
}

func checkFinite(path, name string, values []float32, at int64) error {
	for i, x := range values {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return &fault.Error{Kind: fault.Files, Where: path, Field: fmt.Sprintf("tensor %q: element %d", name, at+int64(i)), Found: fmt.Sprint(x),
				Want: "a finite number", Remedy: "the file is damaged: fetch or write it again"}
		}
	}
	return nil
}

// decode widens stored floats.
func decode(dst []float32, raw []byte, d abi.DType) {
	safetensors.DecodeFloats(dst, raw, storedNames[d])
}

// encode appends floats in a stored dtype, rounded to nearest even.
func encode(out []byte, values []float32, d abi.DType) []byte {
	return safetensors.AppendFloats(out, values, storedNames[d])
}

// roundedTo is x rounded to a dtype, as f32.
func roundedTo(d abi.DType, x []float32) []float32 {
	y := make([]float32, len(x))
	decode(y, encode(nil, x, d), d)
	return y
}
