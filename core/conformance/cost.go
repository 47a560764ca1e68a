package conformance

import (
	"errors"
	"time"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
)

// costRecords is how many records the longer list of Cost has.
const costRecords = 256

// Cost is what submitting takes beside the work itself, in seconds at best. Records are fills
// of one element.
type Cost struct {
	One     float64 `json:"one_record_seconds"` // a list of one record, submitted and waited for
	Records int     `json:"records"`
	List    float64 `json:"list_seconds"` // a list of so many records
	Check   float64 `json:"check_seconds"`
	Plan    float64 `json:"plan_seconds,omitempty"` // the same as a plan; 0 where there are none
}

// MeasureCost measures submitting on a device, for about patience each.
func MeasureCost(dev *plugin.Device, patience time.Duration) (c Cost, err error) {
	r, err := newRunner(dev)
	if err != nil {
		return c, err
	}
	if err := r.begin(); err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	c.Records = costRecords
	one, err := r.fills(1)
	if err != nil {
		return c, err
	}
	if c.One, err = r.fastest(plugin.Submit{List: one.list, Bindings: one.bindings}, patience); err != nil {
		return c, err
	}
	many, err := r.fills(costRecords)
	if err != nil {
		return c, err
	}
	began := time.Now()
	if _, err := dev.CheckList(many.list); err != nil {
		return c, err
	}
	c.Check = time.Since(began).Seconds()
	if c.List, err = r.fastest(plugin.Submit{List: many.list, Bindings: many.bindings}, patience); err != nil || !dev.HasPlans() {
		return c, err
	}
	plan, err := dev.NewPlan(many.list, many.bindings, many.workspace)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, dev.FreePlan(plan)) }()
	c.Plan, err = r.fastest(plugin.Submit{Plan: plan}, patience)
	return c, err
}

// fills is a job of n records.
func (r *runner) fills(n int) (*job, error) {
	t := &Trial{Builder: op.NewBuilder(), Inputs: map[*op.Value][]float64{}}
	out := op.NewValue("out", op.Output, op.Fixed, abi.F32, int64(n))
	for i := range n {
		t.FillFloat(out.Slice(0, int64(i), int64(i+1)), 1)
	}
	return r.prepare(t.Graph, t)
}

// fastest is the seconds of the fastest of many submissions, waited for.
func (r *runner) fastest(s plugin.Submit, patience time.Duration) (best float64, err error) {
	for end := time.Now().Add(patience); best == 0 || time.Now().Before(end); {
		began := time.Now()
		if err := r.submit(s); err != nil {
			return 0, err
		}
		if took := time.Since(began).Seconds(); best == 0 || took < best {
			best = took
		}
	}
	return best, nil
}
