package conformance

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
	"trainer/core/reference"
)

// Options choose what is judged.
type Options struct {
	Tier    int      // 0: mandatory ops only; 1: all
	Ops     []string // family names, or groups of behaviours; empty = all of the tier
	Seed    uint64   // equal seeds give equal cases
	Compose bool     // run the composition of every fused op, claimed or not
}

// Suite is the cases of some options. It remembers the reference's results, so that
// several devices or settings can be judged for the price of one. Not for concurrent use.
type Suite struct {
	options    Options
	cases      []Case
	behaviours []Behaviour
	wants      map[string]*want
}

// want is the reference's answer to one trial: all roots after the run, with the params
// as given and, where the trial has other params, with those.
type want struct {
	trial   *Trial
	now     map[*op.Value][]float64
	changed map[*op.Value][]float64
}

// New selects cases and behaviours. A name that has neither is an error.
func New(o Options) (*Suite, error) {
	s := &Suite{options: o, wants: map[string]*want{}}
	for _, name := range o.Ops {
		if !slices.Contains(GroupNames(), name) {
			return nil, fmt.Errorf("op %q is not known", name)
		}
	}
	wanted := func(name string) bool { return len(o.Ops) == 0 || slices.Contains(o.Ops, name) }
	for _, c := range Cases() {
		if wanted(c.Op) && tier(c.Op) <= o.Tier {
			s.cases = append(s.cases, c)
		}
	}
	for _, b := range Behaviours() {
		if wanted(b.Group) {
			s.behaviours = append(s.behaviours, b)
		}
	}
	return s, nil
}

// tier is the tier of a family.
func tier(name string) int {
	for _, f := range op.Families() {
		if f.Name == name {
			return f.Tier
		}
	}
	return 0
}

// Run judges a device with the cases of some options.
func Run(dev *plugin.Device, o Options) (*Report, error) {
	s, err := New(o)
	if err != nil {
		return nil, err
	}
	return s.Run(dev)
}

// Run judges a device with the cases of ops. An error means that the device could not be asked at all; what
// fails in a case is a result.
func (s *Suite) Run(dev *plugin.Device) (*Report, error) {
	r, err := newRunner(dev)
	if err != nil {
		return nil, err
	}
	report := s.Report(dev.Backend(), dev.Info())
	for _, c := range s.cases {
		res, err := s.timed(r, c)
		if err != nil {
			return nil, err
		}
		report.Results = append(report.Results, res)
	}
	return report, errors.Join(r.release(), r.queue.Close())
}

// Report is an empty report on a device.
func (s *Suite) Report(backend string, info plugin.DeviceInfo) *Report {
	return &Report{Backend: backend, Device: info.Name, ISA: info.ISA, Numerics: numericsNames[min(info.Numerics, abi.NumericsBF16X3)],
		ABI: fmt.Sprintf("%d.%d", abi.ABIMajor, abi.ABIMinor), Tier: s.options.Tier, Seed: s.options.Seed, Tolerances: Tolerances()}
}

// runCase judges one case: natively where the device claims it, else composed.
func (s *Suite) runCase(r *runner, c Case) Result {
	res := Result{Op: c.Op, Case: c.Name, Status: Pass}
	w, err := s.want(c)
	if err != nil {
		return res.failed(fmt.Errorf("reference: %w", err))
	}
	g := &op.Graph{Nodes: slices.Clone(w.trial.Graph.Nodes)}
	native, err := r.claims(w.trial.subject())
	if err != nil {
		return res.failed(err)
	}
	switch {
	case !native && tier(c.Op) == 0:
		return res.failed(&breach{"op.mandatory", errors.New("not claimed, but the op is mandatory")})
	case !native:
		res.Status = Unsupported
		res.Reason = "not claimed; its composition was judged instead"
	}
	if err := r.lower(g, s.options.Compose); err != nil {
		return res.failed(err)
	}
	err = s.try(r, w, g, &res)
	var refused *plugin.Error
	switch {
	case err == nil:
		return res
	case native && errors.As(err, &refused) && refused.Status == abi.StatusUnsupported:
		return res.failed(&breach{"op.claim", fmt.Errorf("claimed by query_ops, and yet: %w", err)})
	case !native:
		return res.failed(&breach{"op.composition", fmt.Errorf("its composition: %w", err)})
	}
	return res.failed(against("op.runs", err))
}

// try runs a lowered graph in every way the border offers and judges each result.
func (s *Suite) try(r *runner, w *want, g *op.Graph, res *Result) error {
	j, err := r.prepare(g, w.trial)
	if err != nil {
		return err
	}
	params := j.paramBlock(w.trial.Inputs)
	first, err := r.once(j, params)
	if err != nil {
		return err
	}
	if err := s.judge(r, w, j, first, w.now, res); err != nil {
		return err
	}
	res.Digest = fmt.Sprintf("%x", sha256.Sum256(j.results(first)))[:16]
	second, err := r.once(j, params)
	if err != nil {
		return fmt.Errorf("second run: %w", err)
	}
	if !r.unequal && !bytes.Equal(j.results(first), j.results(second)) {
		return &breach{"op.repeat", errors.New("two runs gave different bytes")}
	}
	if r.device.HasPlans() {
		return s.tryPlan(r, w, j, params, first, res)
	}
	return s.tryChanged(r, w, j, res)
}

// tryPlan demands that a plan gives the bytes of its list, twice, and that params given
// with a later submit take effect.
func (s *Suite) tryPlan(r *runner, w *want, j *job, params, first []byte, res *Result) error {
	blocks := [][]byte{params, params}
	if w.changed != nil {
		blocks = append(blocks, j.paramBlock(w.trial.Changed))
	}
	after, err := r.planned(j, blocks...)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	for i, a := range after[:2] {
		if r.unequal {
			if err := s.judge(r, w, j, a, w.now, res); err != nil {
				return fmt.Errorf("run %d of the plan: %w", i+1, err)
			}
		} else if !bytes.Equal(j.results(a), j.results(first)) {
			return &breach{"plan.equal", fmt.Errorf("run %d of the plan gave other bytes than the list", i+1)}
		}
	}
	if w.changed == nil {
		return nil
	}
	if err := s.judge(r, w, j, after[2], w.changed, res); err != nil {
		return &breach{"plan.params", fmt.Errorf("with other params, in a plan: %w", err)}
	}
	return nil
}

func (s *Suite) tryChanged(r *runner, w *want, j *job, res *Result) error {
	if w.changed == nil {
		return nil
	}
	after, err := r.once(j, j.paramBlock(w.trial.Changed))
	if err != nil {
		return err
	}
	return s.judge(r, w, j, after, w.changed, res)
}

// judge compares every value the trial's nodes write, and demands that nothing else changed.
func (s *Suite) judge(r *runner, w *want, j *job, after []byte, wants map[*op.Value][]float64, res *Result) error {
	info := r.device.Info()
	judge := judge{trial: w.trial, numerics: info.Numerics, flush: info.Flags&abi.FlagFlushDenormals != 0}
	if err := j.touched(after); err != nil {
		return &breach{"op.bounds", err}
	}
	for _, n := range w.trial.Graph.Nodes {
		for _, v := range n.Out {
			if v == nil {
				continue
			}
			share, err := judge.output(n, v, j.bytes(after, v.Root), wants[v.Root])
			res.Share = max(res.Share, share)
			if err != nil {
				return &breach{"op.value", err}
			}
		}
	}
	return nil
}

// want computes a case's reference, once.
func (s *Suite) want(c Case) (*want, error) {
	key := c.Op + "/" + c.Name
	if w := s.wants[key]; w != nil {
		return w, nil
	}
	t := c.trial(s.options.Seed)
	if name := op.MustLookup(t.subject().Op).Name; name != c.Op {
		return nil, fmt.Errorf("the case's last node is %s", name)
	}
	w := &want{trial: t}
	var err error
	if w.now, err = t.compute(t.Inputs); err != nil {
		return nil, err
	}
	if len(t.Changed) > 0 {
		if w.changed, err = t.compute(t.Inputs, t.Changed); err != nil {
			return nil, err
		}
	}
	s.wants[key] = w
	return w, nil
}

// compute runs the reference; later contents replace earlier ones.
func (t *Trial) compute(contents ...map[*op.Value][]float64) (map[*op.Value][]float64, error) {
	m := reference.New()
	m.Rounding = t.Rounds
	for _, given := range contents {
		for v, data := range given {
			m.Set(v, data)
		}
	}
	if err := m.Run(t.Graph); err != nil {
		return nil, err
	}
	after := map[*op.Value][]float64{}
	for _, n := range t.Graph.Nodes {
		for _, v := range n.Out {
			if v != nil {
				after[v.Root] = m.Get(v.Root)
			}
		}
	}
	return after, nil
}

// queryCompute is the compute dtype of a node's products; 0 = none.
func queryCompute(n *op.Node) uint32 { return program.Query(n).Compute }
