package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Status is the outcome of a case.
type Status string

// The outcomes. A fused op that is not claimed is unsupported; its composition has then
// passed.
const (
	Pass           Status = "pass"
	Fail           Status = "fail"
	Unsupported    Status = "unsupported"
	ExpectedFail   Status = "expected-fail"
	UnexpectedPass Status = "unexpected-pass"
)

// Result is the outcome of one case.
type Result struct {
	Op      string  `json:"op"`
	Case    string  `json:"case"`
	Status  Status  `json:"status"`
	Demand  string  `json:"demand,omitempty"` // what was not met, or of a behaviour what is tried
	Reason  string  `json:"reason,omitempty"`
	Share   float64 `json:"share_of_tolerance"` // the largest error, in parts of what is allowed
	Digest  string  `json:"digest,omitempty"`   // of the bytes of all outputs
	Seconds float64 `json:"seconds"`
}

func (r Result) failed(err error) Result {
	r.Status, r.Reason = Fail, err.Error()
	var b *breach
	if errors.As(err, &b) {
		r.Demand = b.demand
	}
	return r
}

// Report is what Run found out.
type Report struct {
	Backend    string      `json:"backend"`
	Device     string      `json:"device"`
	ISA        string      `json:"isa,omitempty"`
	ABI        string      `json:"abi"`
	Tier       int         `json:"tier"`
	Seed       uint64      `json:"seed"`
	Results    []Result    `json:"results"`
	Tolerances []Tolerance `json:"tolerances"`
}

// Expect turns failures that are known into expected ones: by "op/case" with the reason.
// An expected failure that passes stays a pass and is returned, so that its entry can go.
func (r *Report) Expect(known map[string]string) (passed []string) {
	for i := range r.Results {
		res := &r.Results[i]
		key := res.Op + "/" + res.Case
		reason, ok := known[key]
		switch {
		case ok && res.Status == Fail:
			res.Status, res.Reason = ExpectedFail, reason+": "+res.Reason
		case ok:
			passed = append(passed, key)
		}
	}
	return passed
}

// Count is the number of results of a status.
func (r *Report) Count(s Status) (n int) {
	for _, res := range r.Results {
		if res.Status == s {
			n++
		}
	}
	return n
}

// OK reports whether no case failed unexpectedly.
func (r *Report) OK() bool { return r.Count(Fail) == 0 }

// WriteJSON writes the report, tolerances included, for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteMarkdown writes the report for people: a line for each op, then every failure.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Conformance of %s\n\nDevice %s%s, ABI %s, tier %d, seed %d: %d passed, %d failed, %d unsupported, %d expected to fail.\n\n",
		r.Backend, r.Device, prefixed(" with ", r.ISA), r.ABI, r.Tier, r.Seed, r.Count(Pass), r.Count(Fail), r.Count(Unsupported), r.Count(ExpectedFail))
	b.WriteString("| op | cases | pass | fail | unsupported | expected-fail | worst error / tolerance |\n|---|---|---|---|---|---|---|\n")
	for _, name := range r.ops() {
		sub := Report{}
		worst := 0.0
		for _, res := range r.Results {
			if res.Op == name {
				sub.Results = append(sub.Results, res)
				worst = max(worst, res.Share)
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %.2f |\n", name, len(sub.Results), sub.Count(Pass), sub.Count(Fail), sub.Count(Unsupported), sub.Count(ExpectedFail), worst)
	}
	b.WriteString(r.failures())
	_, err := io.WriteString(w, b.String())
	return err
}

// ops lists the ops met, in order.
func (r *Report) ops() (names []string) {
	seen := map[string]bool{}
	for _, res := range r.Results {
		if !seen[res.Op] {
			seen[res.Op] = true
			names = append(names, res.Op)
		}
	}
	return names
}

func (r *Report) failures() string {
	var b strings.Builder
	for _, res := range r.Results {
		if res.Status == Fail || res.Status == ExpectedFail {
			fmt.Fprintf(&b, "\n- %s: `%s/%s`: %s", res.Status, res.Op, res.Case, res.Reason)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n## What fails\n" + b.String() + "\n"
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
