package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"trainer/core/abi"
)

// Status is the outcome of a case.
type Status string

// The outcomes. A fused op that is not claimed is unsupported; its composition has then
// passed. A failure that was expected is none; a case that was expected to fail and passed
// is one, so that its entry goes.
const (
	Pass           Status = "pass"
	Fail           Status = "fail"
	Unsupported    Status = "unsupported"
	ExpectedFail   Status = "expected-fail"
	UnexpectedPass Status = "unexpected-pass"
)

var statuses = []Status{Pass, Fail, Unsupported, ExpectedFail, UnexpectedPass}

// Result is the outcome of one case.
type Result struct {
	Op      string  `json:"op"` // or the group of behaviours
	Case    string  `json:"case"`
	Status  Status  `json:"status"`
	Demand  string  `json:"demand,omitempty"` // what was not met; of a behaviour, what was tried
	Reason  string  `json:"reason,omitempty"`
	Share   float64 `json:"share_of_tolerance"` // the largest error, in parts of what is allowed
	Digest  string  `json:"digest,omitempty"`   // of the bytes of all outputs
	Seconds float64 `json:"seconds"`
	Saved   string  `json:"saved,omitempty"` // file of the case, for replay
}

// Name is "group/case", by which a case is asked for and expected to fail.
func (r Result) Name() string { return r.Op + "/" + r.Case }

func (r Result) failed(err error) Result {
	r.Status, r.Reason = Fail, err.Error()
	var b *breach
	if errors.As(err, &b) {
		r.Demand = b.demand
	}
	return r
}

// Report is what was found out.
type Report struct {
	Backend    string      `json:"backend"`
	Device     string      `json:"device"`
	ISA        string      `json:"isa,omitempty"`
	Numerics   string      `json:"numerics"` // of f32 products
	ABI        string      `json:"abi"`
	Tier       int         `json:"tier"`
	Seed       uint64      `json:"seed"`
	Note       string      `json:"note,omitempty"` // what else readers should know, as where it ran
	Results    []Result    `json:"results"`
	Tolerances []Tolerance `json:"tolerances"`
}

var numericsNames = [...]string{abi.NumericsIEEE: "IEEE f32", abi.NumericsTF32: "TF32", abi.NumericsBF16X3: "bf16x3"}

// Expect turns failures that are known into expected ones, by "group/case" with the reason;
// a name that ends in * stands for all that begin so. What was expected to fail and passed
// is an unexpected pass. Names that no case has are returned.
func (r *Report) Expect(known map[string]string) (unknown []string) {
	for name, reason := range known {
		met, failed := []*Result{}, false
		for i := range r.Results {
			if res := &r.Results[i]; covers(name, res.Name()) {
				met, failed = append(met, res), failed || res.Status == Fail
			}
		}
		for _, res := range met {
			switch {
			case res.Status == Fail:
				res.Status, res.Reason = ExpectedFail, reason+": "+res.Reason
			case res.Status == Pass && !failed:
				res.Status, res.Reason = UnexpectedPass, "expected to fail: "+reason
			}
		}
		if len(met) == 0 {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

func covers(pattern, name string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return pattern == name || open && strings.HasPrefix(name, prefix)
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

// OK reports whether everything went as expected.
func (r *Report) OK() bool { return r.Count(Fail)+r.Count(UnexpectedPass) == 0 }

// Summary is one line for people.
func (r *Report) Summary() string {
	var parts []string
	for _, s := range statuses {
		if n := r.Count(s); n > 0 || s == Pass || s == Fail {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

// Groups lists the groups met, in order.
func (r *Report) Groups() (names []string) {
	for _, res := range r.Results {
		if !slices.Contains(names, res.Op) {
			names = append(names, res.Op)
		}
	}
	return names
}

// Group is the part of the report on one group.
func (r *Report) Group(name string) *Report {
	sub := &Report{}
	for _, res := range r.Results {
		if res.Op == name {
			sub.Results = append(sub.Results, res)
		}
	}
	return sub
}

// Worst is the largest error, in parts of what is allowed.
func (r *Report) Worst() (share float64) {
	for _, res := range r.Results {
		share = max(share, res.Share)
	}
	return share
}

// Unclaimed lists the ops that the device does not claim for some or all of their cases.
func (r *Report) Unclaimed() (lines []string) {
	for _, name := range r.Groups() {
		g := r.Group(name)
		n := 0
		for _, res := range g.Results {
			if res.Status == Unsupported && res.Demand == "" {
				n++
			}
		}
		switch {
		case n == 0:
		case n == len(g.Results):
			lines = append(lines, name)
		default:
			lines = append(lines, fmt.Sprintf("%s (%d of %d cases)", name, n, len(g.Results)))
		}
	}
	return lines
}

// Missing lists the mandatory ops that the device does not claim.
func (r *Report) Missing() (names []string) {
	for _, res := range r.Results {
		if res.Status == Fail && res.Demand == "op.mandatory" && !slices.Contains(names, res.Op) {
			names = append(names, res.Op)
		}
	}
	return names
}

func (r *Report) failures() string {
	var b strings.Builder
	for _, res := range r.Results {
		if res.Status == Fail || res.Status == ExpectedFail || res.Status == UnexpectedPass {
			fmt.Fprintf(&b, "\n- %s: `%s`: %s", res.Status, res.Name(), res.Reason)
			if text := DemandText(res.Demand); text != "" && res.Status != UnexpectedPass {
				fmt.Fprintf(&b, "\n  (%s: %s)", res.Demand, text)
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n## What fails\n" + b.String() + "\n"
}
