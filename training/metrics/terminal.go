package metrics

import (
	"fmt"
	"math"
	"strings"

	"github.com/guptarohit/asciigraph"
	"github.com/mattn/go-runewidth"
)

const (
	terminalRows  = 12
	fewestColumns = 10 // of the drawing itself
)

// Terminal draws training and evaluation loss over the steps in box-drawing
// characters, at most `columns` wide where that is at least 60, without a newline
// at the end. A history without a training step is "".
func (h *History) Terminal(columns int, color bool) string {
	if len(h.Train) == 0 {
		return ""
	}
	graph := h.graph(columns, color)
	over := widest(h.graph(columns, false)) - columns
	if over > 0 {
		graph = h.graph(max(fewestColumns, columns-over), color)
	}
	return graph
}

// graph draws on `width` columns, labels and axis not counted.
func (h *History) graph(width int, color bool) string {
	train := h.Train
	if len(train) > width {
		train = smooth(train)
	}
	first, last := train[0].Step, train[len(train)-1].Step
	series, caption := [][]float64{resample(train, first, last, width)}, "loss over "+stepsName(first, last)
	if len(h.Eval) > 1 {
		series = append(series, resample(h.Eval, first, last, width))
		caption += ": ─ training, • evaluation"
	}
	options := []asciigraph.Option{
		asciigraph.Height(terminalRows), asciigraph.Precision(2), asciigraph.Caption(caption),
		asciigraph.SeriesChars(asciigraph.DefaultCharSet, asciigraph.CreateCharSet("•")),
	}
	if color {
		options = append(options, asciigraph.SeriesColors(asciigraph.SteelBlue, asciigraph.DarkOrange))
	}
	return strings.TrimRight(asciigraph.PlotMany(series, options...), "\n")
}

func stepsName(first, last int) string {
	if first == last {
		return fmt.Sprintf("step %d", first)
	}
	return fmt.Sprintf("steps %d to %d", first, last)
}

// resample gives the losses at `width` evenly spaced steps from first to last, on
// straight lines between points, and NaN outside of them.
func resample(points []Point, first, last, width int) []float64 {
	out := make([]float64, width)
	next := 0
	for i := range out {
		at := float64(first) + float64(last-first)*float64(i)/float64(max(1, width-1))
		for next < len(points)-1 && float64(points[next].Step) < at {
			next++
		}
		out[i] = between(points[max(0, next-1)], points[next], at)
	}
	return out
}

// between is the loss at a step on the line through a and b.
func between(a, b Point, at float64) float64 {
	from, to := float64(a.Step), float64(b.Step)
	switch {
	case at == to || at == from && from == to:
		return b.Loss
	case at < from || at > to:
		return math.NaN()
	}
	return a.Loss + (b.Loss-a.Loss)*(at-from)/(to-from)
}

// widest is the number of columns of the longest line.
func widest(text string) int {
	columns := 0
	for line := range strings.Lines(text) {
		columns = max(columns, runewidth.StringWidth(strings.TrimRight(line, "\n")))
	}
	return columns
}
