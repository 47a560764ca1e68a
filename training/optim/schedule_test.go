package optim

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// oracle is one entry of testdata/oracles/schedule/schedules.json.
type oracle struct {
	Kind     string
	Source   string
	Total    int     `json:"num_training_steps"`
	Warmup   int     `json:"warmup_steps"`
	LR       float64 `json:"lr"`
	MinRatio float64 `json:"min_lr_ratio"` // the fork's name
	MinRate  float64 `json:"min_lr_rate"`  // Transformers' name
	Values   []float64
}

// options says how a person asks here for the schedule of the entry.
func (o oracle) options() ScheduleOptions {
	s := ScheduleOptions{Kind: o.Kind, LR: o.LR, MinRatio: o.MinRatio + o.MinRate, WarmupSteps: &o.Warmup, Total: o.Total}
	switch o.Kind {
	case "constant": // theirs ignores the warm-up
		s.WarmupSteps = nil
	case "constant_with_warmup":
		s.Kind = "constant"
	case "cosine_with_min_lr":
		s.Kind = "cosine"
	}
	return s
}

func TestSchedulesFollowOracle(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/oracles/schedule/schedules.json")
	require.NoError(t, err)
	var oracles []oracle
	require.NoError(t, json.Unmarshal(raw, &oracles))
	require.Len(t, oracles, 30)
	for _, o := range oracles {
		s, err := NewSchedule(o.options())
		require.NoError(t, err)
		for step, want := range o.Values {
			require.InDeltaf(t, want, s.At(step), 1e-12*o.LR, "%s, %s, step %d of %d", o.Source, o.Kind, step, o.Total)
		}
	}
}

func TestWarmup(t *testing.T) {
	steps, ratio := 7, 0.29
	for _, c := range []struct {
		o    ScheduleOptions
		want int
	}{
		{ScheduleOptions{Kind: "constant", LR: 1, Total: 40}, 0},
		{ScheduleOptions{Kind: "linear", LR: 1, Total: 40}, 4},
		{ScheduleOptions{Kind: "cosine", LR: 1, Total: 49}, 4},
		{ScheduleOptions{Kind: "cosine", LR: 1, Total: 5}, 0},
		{ScheduleOptions{Kind: "linear", LR: 1, Total: 40, WarmupSteps: &steps}, 7},
		{ScheduleOptions{Kind: "constant", LR: 1, Total: 90, WarmupRatio: &ratio}, 26},
	} {
		s, err := NewSchedule(c.o)
		require.NoError(t, err)
		assert.Equal(t, c.want, s.Warmup, "%+v", c.o)
		if c.want > 0 {
			assert.Zero(t, s.At(0))
		}
		assert.Equal(t, 1.0, s.At(s.Warmup))
	}
}

func TestOptionsRefused(t *testing.T) {
	steps, ratio, under, over := 3, 0.1, -1, 1.5
	for name, o := range map[string]ScheduleOptions{
		"unknown kind":    {Kind: "cosin", LR: 1},
		"negative lr":     {Kind: "linear", LR: -1},
		"nan lr":          {Kind: "linear", LR: math.NaN()},
		"infinite lr":     {Kind: "linear", LR: math.Inf(1)},
		"ratio over 1":    {Kind: "cosine", LR: 1, MinRatio: 1.1},
		"both warm-ups":   {Kind: "linear", LR: 1, WarmupSteps: &steps, WarmupRatio: &ratio},
		"warm-up under 0": {Kind: "linear", LR: 1, WarmupSteps: &under},
		"warm-up over 1":  {Kind: "linear", LR: 1, WarmupRatio: &over},
		"polynomial lr":   {Kind: "polynomial", LR: 1e-7},
	} {
		_, err := NewSchedule(o)
		assert.Equal(t, int(fault.Usage), fault.ExitCode(err), name)
	}
	_, err := NewSchedule(ScheduleOptions{Kind: "linear", LR: 1, WarmupSteps: &steps, WarmupRatio: &ratio})
	assert.EqualError(t, err, "--warmup_steps: found both it and warmup_ratio, expected only one of them")
	_, err = NewSchedule(ScheduleOptions{Kind: "linear", Total: -1})
	assert.Equal(t, int(fault.Bug), fault.ExitCode(err))
}
