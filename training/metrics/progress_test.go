package metrics

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func checkPNG(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	image, err := png.Decode(f)
	require.NoError(t, err)
	assert.Equal(t, 1280, image.Bounds().Dx())
	assert.Equal(t, 720, image.Bounds().Dy())
}

// show runs a progress of 40 steps of a second each and gives what it shows.
func show(terminal, color, quiet bool, columns int) string {
	var out strings.Builder
	now := time.Unix(0, 0)
	p := &Progress{out: &out, total: 40, quiet: quiet, terminal: terminal, color: color,
		columns: func() int { return columns }, now: func() time.Time { return now }}
	for step := 1; step <= 40; step++ {
		now = now.Add(time.Second)
		p.Step(Step{Step: step, Loss: 4.5, LearningRate: 2e-4, Seconds: 3, TokensPerSecond: 12345.4, MemoryBytes: 3 << 29})
		if step == 20 {
			p.Note("evaluation: loss %.2f", 4.25)
		}
	}
	p.Close()
	return out.String()
}

func TestProgressPlain(t *testing.T) {
	assert.Equal(t, strings.Join([]string{
		"step 1/40  loss 4.5000  lr 2.00e-04  12,345 tokens/s  1.5 GiB  1:57 left",
		"step 11/40  loss 4.5000  lr 2.00e-04  12,345 tokens/s  1.5 GiB  0:29 left",
		"evaluation: loss 4.25",
		"step 21/40  loss 4.5000  lr 2.00e-04  12,345 tokens/s  1.5 GiB  0:19 left",
		"step 31/40  loss 4.5000  lr 2.00e-04  12,345 tokens/s  1.5 GiB  0:09 left",
		"step 40/40  loss 4.5000  lr 2.00e-04  12,345 tokens/s  1.5 GiB  0:00 left",
		"",
	}, "\n"), show(false, false, false, 80))
}

func TestProgressLive(t *testing.T) {
	lines := strings.Split(show(true, false, false, 80), "\r")
	assert.Equal(t, "step 1/40  loss 4.5000  lr 2.00e-04  12,345 tokens/s  1.5 GiB  1:57 left\x1b[K", lines[1])
	assert.Equal(t, "\x1b[Kevaluation: loss 4.25\n", lines[21])
	assert.Equal(t, "step 40/40  loss 4.5000  lr 2.00e-04  12,345 tokens/s  1.5 GiB  0:00 left\x1b[K\n", lines[41])
	assert.NotContains(t, show(true, false, false, 200), "\x1b[1;36m")
	wide := strings.Split(show(true, true, false, 120), "\r")
	assert.Equal(t, "━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌ step 20/40  \x1b[1;36mloss 4.5000\x1b[0m  lr 2.00e-04  12,345 tokens/s  1.5 GiB  0:20 left\x1b[K", wide[20])
}

func TestProgressFitsTheTerminal(t *testing.T) {
	for columns := range 120 {
		for _, line := range strings.Split(show(true, false, false, columns), "\r")[1:] {
			line = strings.TrimSpace(strings.ReplaceAll(line, "\x1b[K", ""))
			if !strings.HasPrefix(line, "evaluation") {
				require.LessOrEqual(t, widest(line), max(0, columns-1))
			}
		}
	}
}

func TestProgressQuiet(t *testing.T) {
	assert.Empty(t, show(true, true, true, 80))
	assert.Empty(t, show(false, false, true, 80))
}

func TestProgressOnAFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	p := NewProgress(f, 2, false)
	p.Step(Step{Step: 1, Loss: Number(math.NaN()), Seconds: Number(math.NaN()), TokensPerSecond: Number(math.NaN())})
	p.Step(Step{Step: 2})
	p.Close()
	require.NoError(t, f.Close())
	text, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	assert.Equal(t, "step 1/2  loss NaN  lr 0.00e+00  0:00 left\nstep 2/2  loss 0.0000  lr 0.00e+00  0 tokens/s  0:00 left\n", string(text))
}

func TestUnits(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		assert.Equal(t, want, thousands(n))
	}
	assert.Equal(t, "512 MiB", size(512<<20))
	assert.Equal(t, "80.0 GiB", size(80<<30))
	assert.Equal(t, "1:02:03", clock(3723*time.Second))
}
