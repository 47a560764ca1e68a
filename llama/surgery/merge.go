package surgery

import (
	"context"
	"runtime"
	"strings"
	"sync"

	"trainer/files/safetensors"
)

// Merged is a model with an adapter folded into its weights, as a Source. It is for one
// goroutine.
type Merged struct {
	base    *Base
	adapter *Adapter
	module  string // whose pair is in memory
	pair    pair
}

// NewMerged folds an adapter into a model. Errors are *fault.Error of kind Files where they
// do not fit each other.
func NewMerged(b *Base, a *Adapter) (*Merged, error) {
	return &Merged{base: b, adapter: a}, a.checkModules(b)
}

// adapts tells whether the adapter changes a tensor, and gives its module.
func (m *Merged) adapts(tensor string) (module string, ok bool) {
	module, ok = strings.CutSuffix(tensor, ".weight")
	_, adapted := m.adapter.parts[module]
	return module, ok && adapted
}

// Rows implements Source. It computes in float32.
func (m *Merged) Rows(tensor string, first int64, dst []float32) error {
	if err := m.base.Rows(tensor, first, dst); err != nil {
		return err
	}
	module, ok := m.adapts(tensor)
	if !ok {
		return nil
	}
	if err := m.load(module); err != nil {
		return err
	}
	rowsInParallel(dst, m.pair.in, func(row int64, values []float32) { m.pair.apply(first+row, values) })
	return nil
}

// load has the pair of a module in memory.
func (m *Merged) load(module string) (err error) {
	if m.module != module {
		m.pair, err = m.adapter.read(module)
		m.module = module
	}
	return err
}

// apply makes row number row of W that of the merged weight.
func (p *pair) apply(row int64, w []float32) {
	p.add(row, w)
	if p.magnitude == nil {
		return
	}
	factor := float32(float64(p.magnitude[row]) / norm(w))
	for i := range w {
		w[i] *= factor
	}
}

// add adds row number row of Scale·B·A to w, four rows of A at a time.
func (p *pair) add(row int64, w []float32) {
	b, n := p.b[row*p.rank:(row+1)*p.rank], p.in
	k := int64(0)
	for ; k+4 <= p.rank; k += 4 {
		b0, b1, b2, b3 := p.scale*b[k], p.scale*b[k+1], p.scale*b[k+2], p.scale*b[k+3]
		a0, a1, a2, a3 := p.a[k*n:][:len(w)], p.a[(k+1)*n:][:len(w)], p.a[(k+2)*n:][:len(w)], p.a[(k+3)*n:][:len(w)]
		for i := range w {
			w[i] += b0*a0[i] + b1*a1[i] + b2*a2[i] + b3*a3[i]
		}
	}
	for ; k < p.rank; k++ {
		bk, a := p.scale*b[k], p.a[k*n:][:len(w)]
		for i := range w {
			w[i] += bk * a[i]
		}
	}
}

// rowsInParallel calls do with every row of values on all processors.
func rowsInParallel(values []float32, width int64, do func(row int64, values []float32)) {
	rows := int64(len(values)) / width
	workers := min(rows, int64(runtime.GOMAXPROCS(0)))
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for row := rows * w / workers; row < rows*(w+1)/workers; row++ {
				do(row, values[row*width:(row+1)*width])
			}
		})
	}
	group.Wait()
}

// DTypes are what a model can be stored in, as config.json names them.
var DTypes = []string{"float32", "bfloat16", "float16"}

var storedAs = map[string]string{"float32": "F32", "bfloat16": "BF16", "float16": "F16"}

// Write writes the merged weights into a folder, durably, in a dtype of DTypes or, where it
// is empty, each tensor in its own.
func (m *Merged) Write(ctx context.Context, dir, dtype string) error {
	var parts []part
	for _, t := range m.base.Config.Tensors() {
		_, adapted := m.adapts(t.Name)
		p := part{from: t.Name, spec: safetensors.Spec{Name: t.Name, Shape: t.Shape, DType: m.base.dtype(t.Name)}}
		if dtype != "" {
			p.spec.DType = storedAs[dtype]
		}
		p.copied = !adapted && p.spec.DType == m.base.dtype(t.Name)
		parts = append(parts, p)
	}
	return writeModel(ctx, dir, m.base, m, parts)
}
