package surgery

import "testing"

// BenchmarkMerge folds an adapter of rank 64 into rows of 4096.
func BenchmarkMerge(b *testing.B) {
	p := pair{out: 256, rank: 64, in: 4096, a: make([]float32, 64*4096), b: make([]float32, 256*64), scale: 1}
	rows := make([]float32, 256*4096)
	b.SetBytes(int64(4 * len(rows)))
	for b.Loop() {
		rowsInParallel(rows, p.in, p.apply)
	}
}
