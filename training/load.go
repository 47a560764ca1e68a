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
}

// load streams the base weights into their states, tensor by tensor: dense ones in their
// dtype, quantised ones through the quantiser, never a second copy of the model. A
// value that is not finite is refused.
func (e *Engine) load(src Source) error {
	for _, spec := range e.Net.Model.Specs() {
		var err error
		if w := e.Net.matrices[spec.Name]; w != nil && w.Format.Format != abi.FormatDense {
			err = e.quantise(src, w)
		} else {
			v := e.Net.vectors[spec.Name]
			if v == nil {
				v = w.Dense()
			}
			err = e.copy(src, spec.Name, nil, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loadKey is what decides how much memory a quantiser needs.
type loadKey struct {
	out, in int64
	dtype   abi.DType
}

// quantiser is a program that quantises src, which lies in the arena, into a weight.
type quantiser struct {
	src     *op.Value
	program *session.Program
}

// planLoad compiles, on trial, what load will run, so that the arena is large enough.
func (e *Engine) planLoad(src Source) error {
	seen := map[loadKey]bool{}
	for _, w := range e.Net.matrices {
		key := loadKey{w.Out, w.In, src.DType(w.Name)}
		if w.Format.Format == abi.FormatDense || seen[key] {
			continue
		}
		seen[key] = true
		if _, err := e.quantiser(w, key.dtype); err != nil {
			return err
		}
	}
	return nil
}

// quantiser compiles the program of one weight.
func (e *Engine) quantiser(w *op.Weight, dtype abi.DType) (*quantiser, error) {
	b := op.NewBuilder()
	q := &quantiser{src: b.Fixed(w.Name+".dense", dtype, w.Out, w.In)}
	b.Quantise(w, q.src)
	var err error
	if q.program, err = e.Session.CompileOnce(b.Graph); err != nil {
		return nil, err
	}
	e.arenas.took(phaseLoad, q.program)
	return q, nil
}

func (e *Engine) quantise(src Source, w *op.Weight) error {
	q, err := e.quantiser(w, src.DType(w.Name))
	if err != nil {
		return err
	}
	if err := e.copy(src, w.Name, q.program, q.src); err != nil {
		return err
	}
	_, err = e.Session.Run(session.Run{Params: e.params(0, 0, 0), Parts: []session.Part{{Program: q.program}}})
	return err
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
