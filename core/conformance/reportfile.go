package conformance

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// WriteJSON writes the report, tolerances included, for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteMarkdown writes the report for people: a line for each group, then what is not
// claimed and every failure.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Conformance of %s\n\nDevice %s%s, f32 products in %s, ABI %s, tier %d, seed %d: %s.\n\n",
		r.Backend, r.Device, prefixed(" with ", r.ISA), r.Numerics, r.ABI, r.Tier, r.Seed, r.Summary())
	if r.Note != "" {
		fmt.Fprintf(&b, "%s\n\n", r.Note)
	}
	b.WriteString("| group | cases | pass | fail | unsupported | expected-fail | unexpected-pass | worst error / tolerance |\n|---|---|---|---|---|---|---|---|\n")
	for _, name := range r.Groups() {
		g := r.Group(name)
		fmt.Fprintf(&b, "| %s | %d |", name, len(g.Results))
		for _, s := range statuses {
			fmt.Fprintf(&b, " %d |", g.Count(s))
		}
		fmt.Fprintf(&b, " %.2f |\n", g.Worst())
	}
	for _, part := range []struct {
		title string
		names []string
	}{{"Mandatory ops that are missing", r.Missing()}, {"Ops that are not claimed, and composed", r.Unclaimed()}} {
		if len(part.names) > 0 {
			fmt.Fprintf(&b, "\n%s: %s.\n", part.title, strings.Join(part.names, ", "))
		}
	}
	b.WriteString(r.failures())
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJUnit writes the report as continuous integration reads it: a suite for each group.
func (r *Report) WriteJUnit(w io.Writer) error {
	type outcome struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
	}
	type testCase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Time    float64  `xml:"time,attr"`
		Failure *outcome `xml:"failure,omitempty"`
		Skipped *outcome `xml:"skipped,omitempty"`
	}
	type suite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Cases    []testCase `xml:"testcase"`
	}
	all := struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		Suites  []suite  `xml:"testsuite"`
	}{Name: r.Backend}
	for _, name := range r.Groups() {
		g := r.Group(name)
		s := suite{Name: name, Tests: len(g.Results)}
		for _, res := range g.Results {
			c := testCase{Name: res.Case, Class: r.Backend + "." + res.Op, Time: res.Seconds}
			switch res.Status {
			case Fail, UnexpectedPass:
				c.Failure = &outcome{withoutControls(res.Reason), res.Demand}
				s.Failures++
			case Unsupported, ExpectedFail:
				c.Skipped = &outcome{Message: withoutControls(res.Reason)}
				s.Skipped++
			}
			s.Cases = append(s.Cases, c)
		}
		all.Suites = append(all.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// withoutControls is text without what XML cannot hold.
func withoutControls(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' {
			return '?'
		}
		return c
	}, text)
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
