package optim

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"trainer/fault"
)

// Kinds are the learning-rate schedules, by the names of the flag lr_scheduler.
var Kinds = []string{"constant", "linear", "cosine", "cosine_with_restarts", "polynomial", "exponential"}

const (
	defaultWarmup = 0.1  // share of all steps, for every kind but constant
	restartCycles = 3    // cosine_with_restarts
	polynomialEnd = 1e-7 // the learning rate where polynomial ends
	decayPerStep  = 0.99 // exponential
)

// ScheduleOptions are the settings of a schedule as a person gives them.
type ScheduleOptions struct {
	Kind        string   // one of Kinds
	LR          float64  // peak learning rate, finite and at least 0
	MinRatio    float64  // share of LR where cosine and cosine_with_restarts end, 0 to 1
	WarmupSteps *int     // steps of warm-up; nil = not given
	WarmupRatio *float64 // warm-up as a share of Total, rounded down; nil = not given
	Total       int      // optimizer steps in the whole run, at least 0
}

// Schedule gives the learning rate of every optimizer step. It is a value
// without state, so any number of threads may use it. The formulas are those of
// transformers.get_scheduler, and for a minimum ratio and exponential decay those
// of the fsdp_qlora fork; where both know a kind they agree at MinRatio 0.
type Schedule struct {
	Kind     string
	LR       float64 // peak
	MinRatio float64
	Warmup   int // steps that climb from 0 to LR
	Total    int
}

// NewSchedule checks the options and fixes the warm-up: as given, else 10 % of
// the steps, else none for constant. Every error is a *fault.Error of Kind Usage.
func NewSchedule(o ScheduleOptions) (Schedule, error) {
	if err := o.check(); err != nil {
		return Schedule{}, err
	}
	return Schedule{Kind: o.Kind, LR: o.LR, MinRatio: o.MinRatio, Warmup: o.warmup(), Total: o.Total}, nil
}

func (o ScheduleOptions) warmup() int {
	switch {
	case o.WarmupSteps != nil:
		return *o.WarmupSteps
	case o.WarmupRatio != nil:
		return int(*o.WarmupRatio * float64(o.Total))
	case o.Kind == "constant":
		return 0
	}
	return int(defaultWarmup * float64(o.Total))
}

func (o ScheduleOptions) check() error {
	switch {
	case !slices.Contains(Kinds, o.Kind):
		return usage("lr_scheduler", fmt.Sprintf("%q", o.Kind), "one of "+strings.Join(Kinds, ", "))
	case !(o.LR >= 0) || math.IsInf(o.LR, 1):
		return usage("lr", fmt.Sprint(o.LR), "a finite number of at least 0")
	case !(o.MinRatio >= 0 && o.MinRatio <= 1):
		return usage("cosine_min_lr_ratio", fmt.Sprint(o.MinRatio), "a number from 0 to 1")
	case o.WarmupSteps != nil && o.WarmupRatio != nil:
		return usage("warmup_steps", "both it and warmup_ratio", "only one of them")
	case o.WarmupSteps != nil && *o.WarmupSteps < 0:
		return usage("warmup_steps", fmt.Sprint(*o.WarmupSteps), "at least 0")
	case o.WarmupRatio != nil && !(*o.WarmupRatio >= 0 && *o.WarmupRatio <= 1):
		return usage("warmup_ratio", fmt.Sprint(*o.WarmupRatio), "a number from 0 to 1")
	case o.Kind == "polynomial" && o.LR <= polynomialEnd:
		return usage("lr", fmt.Sprint(o.LR), fmt.Sprintf("more than %g, where the polynomial schedule ends", polynomialEnd))
	case o.Total < 0:
		return fmt.Errorf("schedule of %d steps", o.Total)
	}
	return nil
}

func usage(flag, found, want string) error {
	return &fault.Error{Kind: fault.Usage, Where: "--" + flag, Found: found, Want: want}
}

// At is the learning rate of optimizer step `step`, counted from 0. The first
// step of a warm-up has the rate 0. A run has Total steps; past them the formulas
// simply go on, as theirs do.
func (s Schedule) At(step int) float64 {
	if step < s.Warmup {
		return s.LR * float64(step) / float64(s.Warmup)
	}
	after := float64(step - s.Warmup)
	p := after / float64(max(1, s.Total-s.Warmup))
	switch s.Kind {
	case "linear":
		return s.LR * max(0, 1-p)
	case "cosine":
		return s.LR * s.cosine(p)
	case "cosine_with_restarts":
		if p >= 1 {
			return s.LR * s.MinRatio
		}
		return s.LR * s.cosine(math.Mod(restartCycles*p, 1))
	case "polynomial": // of power 1
		return polynomialEnd + (s.LR-polynomialEnd)*max(0, 1-p)
	case "exponential":
		return s.LR * math.Pow(decayPerStep, after)
	}
	return s.LR
}

// cosine falls from 1 at p = 0 to MinRatio at p = 1.
func (s Schedule) cosine(p float64) float64 {
	return s.MinRatio + (1-s.MinRatio)*0.5*(1+math.Cos(math.Pi*p))
}
