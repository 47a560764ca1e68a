package metrics

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// readLines gives the objects of a metrics file.
func readLines(t *testing.T, path string) []map[string]any {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var lines []map[string]any
	for s := bufio.NewScanner(f); s.Scan(); {
		line := map[string]any{}
		require.NoError(t, json.Unmarshal(s.Bytes(), &line))
		lines = append(lines, line)
	}
	return lines
}

func keys(line map[string]any) string {
	var names []string
	for name := range line {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	require.NoError(t, os.WriteFile(path, []byte("an earlier run\n"), 0o600))
	w, err := NewWriter(path)
	require.NoError(t, err)
	require.NoError(t, w.Start(Start{Header: Header{Rank: 2}, Backend: "cpu", NativeOps: []string{"linear"}}))
	require.NoError(t, w.Step(Step{Step: 1, Epoch: 0.5, Loss: Number(math.NaN()), GradNorm: Number(math.Inf(1)), LearningRate: 2e-4, Tokens: 7}))
	require.NoError(t, w.Eval(Eval{Step: 1, Loss: 4.25}))
	assert.Len(t, readLines(t, path), 3, "lines are there before the file is closed")
	require.NoError(t, w.End(End{Steps: 1, Loss: Number(math.Inf(-1))}))
	require.NoError(t, w.Close())

	lines := readLines(t, path)
	require.Len(t, lines, 4)
	assert.Equal(t, "backend composed_ops device event model native_ops parameters rank time trainable_parameters", keys(lines[0]))
	assert.Equal(t, "epoch event grad_norm labelled_tokens learning_rate loss memory_bytes padded_tokens rank seconds step time tokens tokens_per_second", keys(lines[1]))
	assert.Equal(t, "event labelled_tokens loss rank seconds step time", keys(lines[2]))
	assert.Equal(t, "event finished loss memory_peak_bytes memory_planned_bytes rank seconds steps time tokens_per_second", keys(lines[3]))
	for i, event := range []string{"start", "step", "eval", "end"} {
		assert.Equal(t, event, lines[i]["event"])
		at, err := time.Parse(time.RFC3339, lines[i]["time"].(string))
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), at, time.Minute)
	}
	assert.Equal(t, 2.0, lines[0]["rank"])
	assert.Nil(t, lines[1]["loss"])
	assert.Nil(t, lines[1]["grad_norm"])
	assert.Equal(t, 2e-4, lines[1]["learning_rate"])
	assert.Equal(t, 4.25, lines[2]["loss"])
	assert.Nil(t, lines[3]["loss"])
}

func TestEndReadsBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	_, ok := ReadEnd(path)
	assert.False(t, ok, "there is no file")
	w, err := NewWriter(path)
	require.NoError(t, err)
	for range 1000 {
		require.NoError(t, w.Step(Step{}))
	}
	_, ok = ReadEnd(path)
	assert.False(t, ok, "the run goes on")
	require.NoError(t, w.End(End{Finished: true, Steps: 1000, Loss: Number(math.NaN())}))
	require.NoError(t, w.Close())
	end, ok := ReadEnd(path)
	require.True(t, ok)
	assert.Equal(t, []any{"end", true, 1000, true}, []any{end.Event, end.Finished, end.Steps, math.IsNaN(float64(end.Loss))})
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text[:len(text)-2], 0o600))
	_, ok = ReadEnd(path)
	assert.False(t, ok, "the line is not whole")
}

func TestNumberReadsBack(t *testing.T) {
	for _, n := range []Number{0, 1e-12, 11.300000190734863, Number(math.Pi)} {
		text, err := json.Marshal(n)
		require.NoError(t, err)
		var back Number
		require.NoError(t, json.Unmarshal(text, &back))
		assert.Equal(t, n, back)
	}
	var null Number
	require.NoError(t, json.Unmarshal([]byte("null"), &null))
	assert.True(t, math.IsNaN(float64(null)))
}

func TestWriterFaults(t *testing.T) {
	_, err := NewWriter(filepath.Join(t.TempDir(), "none", "metrics.jsonl"))
	assert.Equal(t, int(fault.Disk), fault.ExitCode(err))
	if _, err := os.Stat("/dev/full"); err != nil {
		return
	}
	w, err := NewWriter("/dev/full")
	require.NoError(t, err)
	err = w.Step(Step{})
	assert.EqualError(t, err, "/dev/full: no space left on device; make room, or choose another --output_dir")
	assert.Equal(t, int(fault.Disk), fault.ExitCode(err))
}

func TestWriterFromManyThreads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	w, err := NewWriter(path)
	require.NoError(t, err)
	var threads sync.WaitGroup
	for rank := range 4 {
		threads.Go(func() {
			for step := range 50 {
				assert.NoError(t, w.Step(Step{Header: Header{Rank: rank}, Step: step}))
			}
		})
	}
	threads.Wait()
	require.NoError(t, w.Close())
	assert.Len(t, readLines(t, path), 200)
}

func TestThroughput(t *testing.T) {
	var r Throughput
	for range untimedSteps {
		r.Add(1000, 100)
		assert.True(t, math.IsNaN(r.TokensPerSecond()))
		assert.True(t, math.IsNaN(r.Median()))
	}
	r.Add(100, 1)
	r.Add(100, 2)
	r.Add(400, 1)
	assert.Equal(t, 150.0, r.TokensPerSecond())
	assert.Equal(t, 100.0, r.Median())
	r.Add(90, 2)
	assert.Equal(t, 50.0, r.Median())
}

// curve is a history of n steps with five evaluations.
func curve(n int) *History {
	h := &History{}
	for step := range n + 1 {
		loss := Number(4 + 7*math.Exp(-float64(5*step)/float64(n)))
		if step > 0 {
			h.AddStep(Step{Step: step, Loss: loss + Number(0.3*math.Sin(float64(step*step)))})
		}
		if step%(n/4) == 0 {
			h.AddEval(Eval{Step: step, Loss: loss})
		}
	}
	return h
}

func TestHistoryLeavesOutWhatIsNotFinite(t *testing.T) {
	var h History
	h.AddStep(Step{Step: 1, Loss: Number(math.NaN())})
	h.AddStep(Step{Step: 2, Loss: 3})
	h.AddEval(Eval{Step: 2, Loss: Number(math.Inf(1))})
	assert.Equal(t, History{Train: []Point{{2, 3}}}, h)
}

func TestSmoothKeepsLines(t *testing.T) {
	var line []Point
	for i := range 200 {
		line = append(line, Point{i, float64(i)})
	}
	for i, p := range smooth(line) {
		assert.InDelta(t, float64(i), p.Loss, 1e-9)
	}
	noisy := curve(200).Train
	roughness := func(points []Point) (sum float64) {
		for i := 1; i < len(points); i++ {
			sum += math.Abs(points[i].Loss - points[i-1].Loss)
		}
		return sum
	}
	assert.Less(t, roughness(smooth(noisy)), roughness(noisy)/2)
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		want      string
	}{{0, 200, "0 50 100 150 200"}, {3.6, 11.3, "4 5 6 7 8 9 10 11"}, {2, 2.5, "2 2.1 2.2 2.3 2.4 2.5"}, {0.0001, 0.0002, "0.0001 0.00012 0.00014 0.00016 0.00018 0.0002"}} {
		var labels []string
		for _, tick := range lossTicks(c.low, c.high) {
			labels = append(labels, tick.Label)
		}
		assert.Equal(t, c.want, strings.Join(labels, " "))
	}
	assert.Len(t, stepTicks(0, 2), 3)
}

func TestWritePNG(t *testing.T) {
	path := filepath.Join(t.TempDir(), "loss.png")
	require.NoError(t, (&History{}).WritePNG(path, "nothing"))
	assert.NoFileExists(t, path)
	for _, h := range []*History{
		curve(200), curve(12), {Train: []Point{{1, 3}}}, {Eval: []Point{{0, 3}, {1, 3}}}, {Train: []Point{{1, 1e300}, {2, -1e300}}},
	} {
		require.NoError(t, h.WritePNG(path, "loss"))
		checkPNG(t, path)
	}
	err := curve(12).WritePNG(filepath.Join(t.TempDir(), "none", "loss.png"), "")
	assert.Equal(t, int(fault.Disk), fault.ExitCode(err))
}

func TestTerminalKeepsToWidth(t *testing.T) {
	assert.Empty(t, (&History{}).Terminal(80, false))
	for _, h := range []*History{curve(4), curve(200), {Train: []Point{{1, 3}}}, {Train: []Point{{1, 12345.6}, {2, 0.0001}}}} {
		for _, columns := range []int{60, 80, 200} {
			text := h.Terminal(columns, false)
			assert.LessOrEqual(t, widest(text), columns)
			assert.Greater(t, widest(text), columns-12)
			assert.NotContains(t, text, "\x1b")
			assert.NotContains(t, text, "NaN")
		}
	}
	h := curve(200)
	assert.Contains(t, h.Terminal(80, true), "\x1b[38;5;")
	assert.Contains(t, h.Terminal(80, false), "loss over steps 1 to 200: ─ training, • evaluation")
}

func TestResample(t *testing.T) {
	got := resample([]Point{{2, 1}, {4, 3}, {8, 7}}, 0, 8, 9)
	assert.Equal(t, "[NaN NaN 1 2 3 4 5 6 7]", fmt.Sprint(got))
}
