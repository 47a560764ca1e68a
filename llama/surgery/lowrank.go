package surgery

import (
	"math"
	"math/rand/v2"
)

// matrix is row-major.
type matrix struct {
	rows, columns int64
	values        []float32
}

func newMatrix(rows, columns int64) matrix {
	return matrix{rows, columns, make([]float32, rows*columns)}
}

func (m matrix) row(i int64) []float32 { return m.values[i*m.columns : (i+1)*m.columns] }

// times is m·b.
func (m matrix) times(b matrix) matrix {
	out := newMatrix(m.rows, b.columns)
	rowsInParallel(out.values, out.columns, func(row int64, sum []float32) {
		for k, x := range m.row(row) {
			addScaled(sum, x, b.row(int64(k)))
		}
	})
	return out
}

// transposed is mᵀ.
func (m matrix) transposed() matrix {
	out := newMatrix(m.columns, m.rows)
	rowsInParallel(out.values, out.columns, func(row int64, values []float32) {
		for i := range values {
			values[i] = m.values[int64(i)*m.columns+row]
		}
	})
	return out
}

// orthonormalise makes the rows unit vectors at right angles to each other, spanning what
// they spanned; twice, since once is not exact. Rows that depend on others become zero.
func (m matrix) orthonormalise() {
	for range 2 {
		for i := range m.rows {
			row := m.row(i)
			for j := range i {
				addScaled(row, float32(-dot(row, m.row(j))), m.row(j))
			}
			length := norm(row)
			for k := range row {
				if length > 1e-12 {
					row[k] = float32(float64(row[k]) / length)
				} else {
					row[k] = 0
				}
			}
		}
	}
}

func addScaled(sum []float32, x float32, values []float32) {
	for i := range values {
		sum[i] += x * values[i]
	}
}

func dot(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// factors are a product B·A of low rank: B [out, rank] with orthonormal columns, held
// transposed, and A [rank, in].
type factors struct{ bt, a matrix }

// startFactors begins with a random row space.
func startFactors(out, in, rank int64) factors {
	numbers := rand.New(rand.NewPCG(uint64(out), uint64(in)))
	f := factors{newMatrix(rank, out), newMatrix(rank, in)}
	for i := range f.a.values {
		f.a.values[i] = float32(numbers.NormFloat64())
	}
	f.a.orthonormalise()
	return f
}

// approach is a step of subspace iteration: it brings the product nearer to the best one
// of its rank for m. (Halko et al. 2011)
func (f factors) approach(m matrix) factors {
	rows := matrix{f.a.rows, f.a.columns, append([]float32{}, f.a.values...)}
	rows.orthonormalise()
	f.bt = m.times(rows.transposed()).transposed()
	f.bt.orthonormalise()
	f.a = f.bt.times(m)
	return f
}

// b is B.
func (f factors) b() matrix { return f.bt.transposed() }

// How often a decomposition is refined: at least and at most, and the change of the error,
// as a share of the whole, below which it is good.
const (
	refineLeast = 4
	refineMost  = 100
	refineGood  = 1e-7
)

// decompose finds the B·A of a rank, and with dora the length of each row, by which base
// becomes merged, as nearly as can be. miss is what is not met, as a share of the change.
func decompose(base, merged matrix, rank int64, dora bool) (f factors, magnitude []float32, miss float64) {
	f = startFactors(base.rows, base.columns, rank)
	if dora {
		magnitude = lengths(merged)
	}
	change, before, sum := difference(base, merged), math.Inf(1), base
	for i := range refineMost {
		f = f.approach(wanted(base, merged, sum, dora))
		sum = f.added(base)
		made := sum
		if dora {
			made = sum.stretched(magnitude)
		}
		miss = difference(made, merged) / max(change, tiny)
		if i >= refineLeast && before-miss < refineGood {
			break
		}
		before = miss
	}
	return f, magnitude, miss
}

// tiny stands for zero where something is divided by it.
const tiny = 1e-30

// wanted is what B·A has to be. With dora the direction of each row is all it has to make:
// merged's row counts at the length that comes nearest to sum, which base and B·A make so far.
func wanted(base, merged, sum matrix, dora bool) matrix {
	out := newMatrix(base.rows, base.columns)
	rowsInParallel(out.values, out.columns, func(row int64, values []float32) {
		goal, stretch := merged.row(row), float32(1)
		if dora {
			stretch = float32(dot(goal, sum.row(row)) / max(tiny, dot(goal, goal)))
		}
		for i, x := range base.row(row) {
			values[i] = stretch*goal[i] - x
		}
	})
	return out
}

// added is base + B·A.
func (f factors) added(base matrix) matrix {
	sum := f.b().times(f.a)
	for i, x := range base.values {
		sum.values[i] += x
	}
	return sum
}

// lengths are those of the rows.
func lengths(m matrix) []float32 {
	out := make([]float32, m.rows)
	for i := range out {
		out[i] = float32(norm(m.row(int64(i))))
	}
	return out
}

// stretched has rows of the given lengths.
func (m matrix) stretched(lengths []float32) matrix {
	out := newMatrix(m.rows, m.columns)
	rowsInParallel(out.values, out.columns, func(row int64, values []float32) {
		factor := float32(float64(lengths[row]) / max(tiny, norm(m.row(row))))
		for i, x := range m.row(row) {
			values[i] = factor * x
		}
	})
	return out
}

// difference is the L2 norm of a-b.
func difference(a, b matrix) float64 {
	sum := 0.0
	for i, x := range a.values {
		d := float64(x) - float64(b.values[i])
		sum += d * d
	}
	return math.Sqrt(sum)
}
