package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
)

// Wrong is a case in which a device gave a wrong answer.
type Wrong struct {
	Op, Case string
	Err      error
}

// Error names op and case, and what was expected.
func (w *Wrong) Error() string { return fmt.Sprintf("op %s in case %q: %v", w.Op, w.Case, w.Err) }

// What the operands of a case hold in all that is chosen without looking on: enough that a
// wrong result shows, not more than takes a moment.
const (
	fewestElements = 64
	mostElements   = 16384
)

// selfTestPatience is how long one case may run.
const selfTestPatience = 20 * time.Second

// SelfTest judges a device on a small case of each kind of call that a run makes, once, and
// on no more when the budget is spent: processor time of this process, so that a busy machine
// does not shorten the test, and at most five times as much by the clock. It returns how many it judged. The error is a *Wrong
// where a result is, a *plugin.Error where a call failed.
func SelfTest(dev *plugin.Device, kinds []program.Kind, budget time.Duration) (judged int, err error) {
	r, err := newRunner(dev)
	if err != nil {
		return 0, err
	}
	r.patience = selfTestPatience
	s := &Suite{options: Options{Tier: 1}, wants: map[string]*want{}}
	began, end := processorTime(), time.Now().Add(5*budget)
	for _, c := range chosen(kinds) {
		if processorTime()-began > budget || time.Now().After(end) {
			break
		}
		if err := s.once(r, c); err != nil {
			return judged, err
		}
		judged++
	}
	return judged, errors.Join(r.release(), r.queue.Close())
}

// processorTime is what this process has taken of the processors so far.
func processorTime() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// once judges one run of a case.
func (s *Suite) once(r *runner, c Case) error {
	w, err := s.want(c)
	if err != nil {
		return err
	}
	if err := r.begin(); err != nil {
		return err
	}
	g := &op.Graph{Nodes: slices.Clone(w.trial.Graph.Nodes)}
	if err := r.lower(g, false); err != nil {
		return err
	}
	j, err := r.prepare(g, w.trial)
	if err != nil {
		return err
	}
	after, err := r.once(j, j.paramBlock(w.trial.Inputs))
	if err != nil {
		return err
	}
	if err := s.judge(r, w, j, after, w.now, &Result{}); err != nil {
		return &Wrong{c.Op, c.Name, err}
	}
	return r.timeline.Close()
}

// chosen is a small case of each kind, without repetition, in ascending op. A kind of which
// there is no case gets one of its op.
func chosen(kinds []program.Kind) (out []Case) {
	families := map[string][]Case{}
	for _, c := range Cases() {
		families[c.Op] = append(families[c.Op], c)
	}
	kinds = slices.Clone(kinds)
	slices.SortFunc(kinds, func(a, b program.Kind) int {
		return cmp.Or(cmp.Compare(a.Query.Op, b.Query.Op), cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	known := map[string]measured{}
	taken := map[string]bool{}
	for _, k := range kinds {
		c, ok := small(families[op.MustLookup(abi.Op(k.Query.Op)).Name], k, known)
		if ok && !taken[c.Op+"/"+c.Name] {
			taken[c.Op+"/"+c.Name] = true
			out = append(out, c)
		}
	}
	return out
}

// measured is what a case is about, and the elements of its operands; 0 where nothing is
// written.
type measured struct {
	kind     program.Kind
	elements int64
}

// small is the first case of a kind that is of a good size, else the one nearest to it of its
// kind, else of its op.
func small(cases []Case, k program.Kind, known map[string]measured) (best Case, ok bool) {
	var nearest [2]int64
	for _, c := range cases {
		m, seen := known[c.Op+"/"+c.Name]
		if !seen {
			m = measure(c)
			known[c.Op+"/"+c.Name] = m
		}
		if m.elements == 0 {
			continue
		}
		away := [2]int64{0, max(0, fewestElements-m.elements, m.elements-mostElements)}
		if m.kind != k {
			away[0] = 1
		}
		if away == [2]int64{} {
			return c, true
		}
		if !ok || slices.Compare(away[:], nearest[:]) < 0 {
			best, nearest, ok = c, away, true
		}
	}
	return best, ok
}

func measure(c Case) measured {
	n := c.trial(0).subject()
	m := measured{kind: program.KindOf(n)}
	written := int64(0)
	for _, v := range n.Out {
		if v != nil {
			written += v.Count()
		}
	}
	if written == 0 {
		return m
	}
	m.elements = written
	for _, v := range n.In {
		if v != nil {
			m.elements += v.Count()
		}
	}
	return m
}
