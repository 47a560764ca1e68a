package metrics

import "math"

// Point is a loss after a number of optimizer steps.
type Point struct {
	Step int
	Loss float64
}

// History is what the loss plots show. Losses that are not finite are left out.
type History struct {
	Train []Point // ascending by step
	Eval  []Point // ascending by step
}

// AddStep takes the loss of an optimizer step.
func (h *History) AddStep(s Step) { h.Train = appendFinite(h.Train, s.Step, s.Loss) }

// AddEval takes the loss of an evaluation.
func (h *History) AddEval(e Eval) { h.Eval = appendFinite(h.Eval, e.Step, e.Loss) }

func appendFinite(points []Point, step int, loss Number) []Point {
	if f := float64(loss); !math.IsNaN(f) && !math.IsInf(f, 0) {
		return append(points, Point{step, f})
	}
	return points
}

// smooth is the mean over a window of about a twentieth of the points around each,
// narrower towards the ends, so that it lags behind nothing.
func smooth(points []Point) []Point {
	sums := make([]float64, len(points)+1)
	for i, p := range points {
		sums[i+1] = sums[i] + p.Loss
	}
	out := make([]Point, len(points))
	for i, p := range points {
		half := min(len(points)/40+1, i, len(points)-1-i)
		out[i] = Point{p.Step, (sums[i+half+1] - sums[i-half]) / float64(2*half+1)}
	}
	return out
}
