package metrics

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	plainEvery = 10 * time.Second       // between lines where nobody watches
	liveEvery  = 100 * time.Millisecond // between changes of the live line
	barWidth   = 20
)

// Progress shows a run while it runs: on a terminal one live line, else a plain
// line for the first step, the last, and every ten seconds in between. Any number
// of threads may use it. Failing to show something is no error.
type Progress struct {
	mu       sync.Mutex
	out      io.Writer
	total    int
	quiet    bool
	terminal bool
	color    bool
	columns  func() int
	now      func() time.Time

	live      bool      // the cursor is on a live line
	shown     time.Time // when a line was last shown
	began     time.Time // when the first step was over
	beganStep int
}

// NewProgress shows a run of `total` optimizer steps on out, commonly stderr.
// quiet shows nothing at all. Colour needs a terminal and an unset NO_COLOR.
func NewProgress(out *os.File, total int, quiet bool) *Progress {
	p := &Progress{out: out, total: total, quiet: quiet, now: time.Now}
	p.terminal = term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb"
	p.color = p.terminal && os.Getenv("NO_COLOR") == ""
	p.columns = func() int {
		columns, _, err := term.GetSize(int(out.Fd()))
		if err != nil || columns <= 0 {
			return 80
		}
		return columns
	}
	return p
}

// Step shows an optimizer step that is done.
func (p *Progress) Step(s Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if p.began.IsZero() {
		p.began, p.beganStep = now, s.Step
	}
	every := plainEvery
	if p.terminal {
		every = liveEvery
	}
	if p.quiet || !p.shown.IsZero() && s.Step != p.total && now.Sub(p.shown) < every {
		return
	}
	p.shown = now
	parts := p.parts(s, p.left(s, now))
	if !p.terminal {
		fmt.Fprintln(p.out, strings.Join(parts, "  "))
		return
	}
	p.live = true
	fmt.Fprint(p.out, "\r", p.fit(s, parts), "\x1b[K")
}

// Note shows a line of its own, above the live line.
func (p *Progress) Note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet {
		return
	}
	if p.live {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.live = false
	}
	fmt.Fprintf(p.out, format+"\n", args...)
}

// Close leaves the last live line standing and moves below it.
func (p *Progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		fmt.Fprintln(p.out)
		p.live = false
	}
}

// left estimates the time that remains from the steps after the first, which is
// slower than the others.
func (p *Progress) left(s Step, now time.Time) time.Duration {
	remaining := float64(p.total - s.Step)
	if done := s.Step - p.beganStep; done > 0 {
		return time.Duration(remaining / float64(done) * float64(now.Sub(p.began)))
	}
	if seconds := remaining * float64(s.Seconds); seconds < math.MaxInt32 {
		return time.Duration(seconds * float64(time.Second))
	}
	return 0
}

// parts are what a line says, the most important first.
func (p *Progress) parts(s Step, left time.Duration) []string {
	parts := []string{
		fmt.Sprintf("step %d/%d", s.Step, p.total),
		fmt.Sprintf("loss %.4f", float64(s.Loss)),
		fmt.Sprintf("lr %.2e", float64(s.LearningRate)),
	}
	if s.SkippedSteps > 0 {
		parts = append(parts, fmt.Sprintf("%d skipped", s.SkippedSteps))
	}
	if rate := float64(s.TokensPerSecond); rate >= 0 && !math.IsInf(rate, 0) {
		parts = append(parts, thousands(int64(math.Round(rate)))+" tokens/s")
	}
	if s.MemoryBytes > 0 {
		parts = append(parts, size(s.MemoryBytes))
	}
	return append(parts, clock(left)+" left")
}

// fit makes a live line of as many parts as the terminal is wide enough for, with
// a bar and colour where possible.
func (p *Progress) fit(s Step, parts []string) string {
	room := p.columns() - 1 // a full line would wrap
	line := strings.Join(parts, "  ")
	for len(line) > room && len(parts) > 1 {
		parts = parts[:len(parts)-1]
		line = strings.Join(parts, "  ")
	}
	line = line[:min(len(line), max(0, room))]
	bar := ""
	if len(line)+barWidth+1 <= room && p.total > 0 {
		full := min(barWidth, barWidth*s.Step/p.total)
		bar = strings.Repeat("━", full) + strings.Repeat("╌", barWidth-full) + " "
	}
	if p.color && len(parts) > 1 {
		line = strings.Replace(line, parts[1], "\x1b[1;36m"+parts[1]+"\x1b[0m", 1)
	}
	return bar + line
}

// thousands writes 12345 as 12,345.
func thousands(n int64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// size writes a number of bytes in MiB or GiB.
func size(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// clock writes a duration as 0:32 or 1:02:03.
func clock(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}
