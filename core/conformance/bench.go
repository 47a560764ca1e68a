package conformance

import (
	"errors"
	"slices"
	"time"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
)

// The sizes of the benchmarks: those of a step of SmolLM-135M with four rows of 256 tokens.
const (
	benchTokens, benchLength     = 1024, 256
	benchHidden, benchInner      = 576, 1536
	benchVocabulary              = 49152
	benchHeads, benchGroups      = 9, 3
	benchHeadWidth, benchAdapter = 64, 16
)

// Benchmarks lists a case or more of every op at those sizes, in ascending op.
func Benchmarks() []Case {
	return slices.Concat(copyBenchmarks(), fillBenchmarks(), castBenchmarks(), elementwiseBenchmarks(), reduceBenchmarks(), gatherBenchmarks(), matmulBenchmarks(),
		randomBenchmarks(), bitsBenchmarks(), quantiseBenchmarks(), linearBenchmarks(), rmsnormBenchmarks(), ropeBenchmarks(), swigluBenchmarks(),
		attentionBenchmarks(), crossEntropyBenchmarks(), adamwBenchmarks(), normBenchmarks(), scaleBenchmarks())
}

// Timing is how long one run of a benchmark took, at best.
type Timing struct {
	Op      string  `json:"op"`
	Case    string  `json:"case"`
	Seconds float64 `json:"seconds"`
	FLOPs   float64 `json:"flops"`  // of its products; 0 where memory is what bounds it
	Bytes   float64 `json:"bytes"`  // read and written at least
	Native  bool    `json:"native"` // else composed

	// Records is what each record of the op, or of its composition, took on the device in the
	// fastest run that was asked for times; nil where the device does not tell.
	Records []float64 `json:"record_seconds,omitempty"`
}

// Bench runs one benchmark again and again for about so long, as a plan where the device
// has plans. A fused op that the device does not claim is composed.
func Bench(dev *plugin.Device, c Case, patience time.Duration) (timing Timing, err error) {
	timing = Timing{Op: c.Op, Case: c.Name}
	r, err := newRunner(dev)
	if err != nil {
		return timing, err
	}
	if err := r.begin(); err != nil {
		return timing, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	t := c.trial(0)
	timing.FLOPs, timing.Bytes = op.FLOPs(t.subject()), op.Bytes(t.subject())
	if timing.Native, err = r.claims(t.subject()); err != nil {
		return timing, err
	}
	g := &op.Graph{Nodes: slices.Clone(t.Graph.Nodes)}
	if err := r.lower(g, false); err != nil {
		return timing, err
	}
	j, err := r.prepare(g, t)
	if err != nil {
		return timing, err
	}
	params := j.paramBlock(t.Inputs)
	if timing.Seconds, err = r.best(j, params, patience); err != nil || !dev.HasTimes() {
		return timing, err
	}
	timing.Records, err = r.recordTimes(j, params, patience)
	return timing, err
}

// recordTimes is what each record of a job takes in the fastest run, on a device that tells.
func (r *runner) recordTimes(j *job, params []byte, patience time.Duration) (best []float64, err error) {
	for end := time.Now().Add(patience); best == nil || time.Now().Before(end); {
		seconds, err := r.timed(j, params)
		if err != nil {
			return nil, err
		}
		if best == nil || sum(seconds) < sum(best) {
			best = seconds
		}
	}
	return best, nil
}

func sum(all []float64) (total float64) {
	for _, x := range all {
		total += x
	}
	return total
}

// timed runs a job with the times of its records.
func (r *runner) timed(j *job, params []byte) ([]float64, error) {
	_, records := abi.ListIdentity(j.list)
	return r.device.Timed(int(records), func(times *plugin.Times) error {
		return r.submit(plugin.Submit{List: j.list, Bindings: j.bindings, Workspace: j.workspace, Params: params, Times: times})
	})
}

// best is the seconds of the fastest run.
func (r *runner) best(j *job, params []byte, patience time.Duration) (best float64, err error) {
	if _, err := r.once(j, params); err != nil {
		return 0, err
	}
	s := plugin.Submit{List: j.list, Bindings: j.bindings, Workspace: j.workspace, Params: params}
	if r.device.HasPlans() {
		plan, err := r.device.NewPlan(j.list, j.bindings, j.workspace)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, r.device.FreePlan(plan)) }()
		s = plugin.Submit{Plan: plan, Params: params}
	}
	return r.fastest(s, patience)
}
