package metrics

import (
	"bytes"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"trainer/files/atomicfile"
)

// Colours that people with any kind of colour vision tell apart (Okabe, Ito 2008).
var (
	trainColor = color.NRGBA{R: 0, G: 114, B: 178, A: 255}
	faintColor = color.NRGBA{R: 0, G: 114, B: 178, A: 70}
	evalColor  = color.NRGBA{R: 213, G: 94, B: 0, A: 255}
	gridColor  = color.NRGBA{R: 0, G: 0, B: 0, A: 28}
	textColor  = color.NRGBA{R: 60, G: 60, B: 60, A: 255}
)

const (
	pngWidth   = 8 * vg.Inch
	pngHeight  = 4.5 * vg.Inch
	pngDPI     = 160
	lineWidth  = vg.Length(1.8)
	smoothFrom = 20 // points; fewer are shown as they are
)

// WritePNG draws training and evaluation loss over the steps into a PNG file of
// 1280 × 720 pixels, replacing the file at once. A history without a point leaves
// no file. Errors are *fault.Error of Kind Disk.
func (h *History) WritePNG(path, title string) error {
	if len(h.Train)+len(h.Eval) == 0 {
		return nil
	}
	p, err := h.plot(title)
	if err != nil {
		return err
	}
	canvas := vgimg.NewWith(vgimg.UseWH(pngWidth, pngHeight), vgimg.UseDPI(pngDPI))
	p.Draw(draw.Crop(draw.New(canvas), 10, -16, 8, -10))
	var file bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(&file); err != nil {
		return err
	}
	return atomicfile.WriteFile(path, file.Bytes())
}

func (h *History) plot(title string) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, "optimizer step", "loss"
	style(p)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = gridColor, gridColor
	p.Add(grid)
	if err := h.addTrain(p); err != nil {
		return nil, err
	}
	return p, addCurve(p, "evaluation", h.Eval, evalColor, []vg.Length{5, 4})
}

// addTrain draws few points as they are and many as a faint line below their mean.
func (h *History) addTrain(p *plot.Plot) error {
	if len(h.Train) < smoothFrom {
		return addCurve(p, "training", h.Train, trainColor, nil)
	}
	raw, err := plotter.NewLine(xys(h.Train))
	if err != nil {
		return err
	}
	raw.Color, raw.Width = faintColor, 1
	mean, err := plotter.NewLine(xys(smooth(h.Train)))
	if err != nil {
		return err
	}
	mean.Color, mean.Width = trainColor, lineWidth
	p.Add(raw, mean)
	p.Legend.Add("training, smoothed", mean)
	return nil
}

// addCurve draws a line with a dot at every point; no points draw nothing.
func addCurve(p *plot.Plot, name string, points []Point, c color.Color, dashes []vg.Length) error {
	if len(points) == 0 {
		return nil
	}
	line, dots, err := plotter.NewLinePoints(xys(points))
	if err != nil {
		return err
	}
	line.Color, line.Width, line.Dashes = c, lineWidth, dashes
	dots.Color, dots.Radius, dots.Shape = c, 3, draw.CircleGlyph{}
	p.Add(line, dots)
	p.Legend.Add(name, line, dots)
	return nil
}

// style sets fonts, distances and frame.
func style(p *plot.Plot) {
	for s, points := range map[*text.Style]font.Length{
		&p.Title.TextStyle: 13, &p.Legend.TextStyle: 11,
		&p.X.Label.TextStyle: 11, &p.Y.Label.TextStyle: 11, &p.X.Tick.Label: 10, &p.Y.Tick.Label: 10,
	} {
		s.Font.Typeface, s.Font.Variant, s.Font.Size = "Liberation", "Sans", points
		s.Color = textColor
	}
	p.Title.Padding, p.X.Label.Padding, p.Y.Label.Padding = 8, 4, 4
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.LineStyle.Color, axis.Tick.LineStyle.Color = textColor, textColor
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(stepTicks), plot.TickerFunc(lossTicks)
	p.Legend.Top, p.Legend.XOffs, p.Legend.YOffs = true, -8, -8
	p.Legend.ThumbnailWidth, p.Legend.Padding = 28, 3
}

// stepTicks are whole numbers.
func stepTicks(low, high float64) []plot.Tick { return ticks(low, high, max(1, roundStep(low, high))) }

func lossTicks(low, high float64) []plot.Tick { return ticks(low, high, roundStep(low, high)) }

// roundStep is the least of 1, 2, 5 times a power of ten that divides a range into
// at most eight parts.
func roundStep(low, high float64) float64 {
	least := max((high-low)/8, 1e-9)
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= least {
			return factor * power
		}
	}
	return 10 * power
}

func ticks(low, high, step float64) []plot.Tick {
	var out []plot.Tick
	for k := math.Ceil(low/step - 1e-9); k*step <= high+1e-9*step; k++ {
		value := k*step + 0 // not -0
		out = append(out, plot.Tick{Value: value, Label: strconv.FormatFloat(value, 'g', 6, 64)})
	}
	return out
}

func xys(points []Point) plotter.XYs {
	out := make(plotter.XYs, len(points))
	for i, p := range points {
		out[i].X, out[i].Y = float64(p.Step), p.Loss
	}
	return out
}
