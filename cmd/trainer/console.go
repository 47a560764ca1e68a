package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"

	"trainer/training/metrics"
)

// console is where a person reads: results on standard output, everything else on
// standard error.
type console struct {
	out, err *os.File
	quiet    bool
	progress *metrics.Progress // while steps run
}

// note shows a line of its own, unless --quiet.
func (c *console) note(format string, args ...any) {
	switch {
	case c.quiet:
	case c.progress != nil:
		c.progress.Note(format, args...)
	default:
		fmt.Fprintf(c.err, format+"\n", args...)
	}
}

// result writes a line of the result.
func (c *console) result(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

// json writes a result for programs, on one line.
func (c *console) json(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the result as JSON: %w", err)
	}
	return nil
}

// coloured tells whether f is a terminal that wants colour.
func coloured(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" && os.Getenv("NO_COLOR") == ""
}

// columns is the width of the terminal f, 80 where it is none.
func columns(f *os.File) int {
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
		return n
	}
	return 80
}

// paint wraps text in an ANSI style where on is set.
func paint(on bool, style, text string) string {
	if !on || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// printable drops what in foreign text could command the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}

// gib writes bytes for people.
func gib(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}

// grouped writes 12345 as 12,345.
func grouped(n int64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// listed joins names, "none" where there are none.
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
