package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
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

// smallElements bounds the results of a case that is chosen without looking on.
const smallElements = 4096

// selfTestPatience is how long one case may run.
const selfTestPatience = 20 * time.Second

// SelfTest judges a device on a small case of each kind of call that a run makes, once, and
// on no more when the budget is spent. It returns how many it judged. The error is a *Wrong
// where a result is, a *plugin.Error where a call failed.
func SelfTest(dev *plugin.Device, kinds []program.Kind, budget time.Duration) (judged int, err error) {
	r, err := newRunner(dev)
	if err != nil {
		return 0, err
	}
	r.patience = selfTestPatience
	s := &Suite{options: Options{Tier: 1}, wants: map[string]*want{}}
	end := time.Now().Add(budget)
	for _, c := range chosen(kinds) {
		if time.Now().After(end) {
			break
		}
		if err := s.once(r, c); err != nil {
			return judged, err
		}
		judged++
	}
	return judged, errors.Join(r.release(), r.queue.Close())
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

// measured is what a case is about, and the elements of its results.
type measured struct {
	kind     program.Kind
	elements int64
}

// small is the first case of a kind that is small enough, else the smallest of its kind,
// else of its op. A case without elements shows nothing.
func small(cases []Case, k program.Kind, known map[string]measured) (best Case, ok bool) {
	rank := func(m measured) (exact int, elements int64) {
		if m.kind == k {
			exact = 1
		}
		return exact, -m.elements
	}
	var of measured
	for _, c := range cases {
		m, seen := known[c.Op+"/"+c.Name]
		if !seen {
			m = measure(c)
			known[c.Op+"/"+c.Name] = m
		}
		if m.elements == 0 {
			continue
		}
		if m.kind == k && m.elements <= smallElements {
			return c, true
		}
		exact, elements := rank(m)
		bestExact, bestElements := rank(of)
		if !ok || cmp.Or(cmp.Compare(exact, bestExact), cmp.Compare(elements, bestElements)) > 0 {
			best, of, ok = c, m, true
		}
	}
	return best, ok
}

func measure(c Case) measured {
	n := c.trial(0).subject()
	m := measured{kind: program.KindOf(n)}
	for _, v := range n.Out {
		if v != nil {
			m.elements += v.Count()
		}
	}
	return m
}
