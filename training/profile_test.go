package training

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trainer/core/model"
	"trainer/training/data"
)

// byPhase adds up the FLOPs of each phase.
func byPhase(costs []Cost) map[string]float64 {
	sums := map[string]float64{}
	for _, c := range costs {
		sums[c.Phase] += c.FLOPs
	}
	return sums
}

// batch is the first micro-batch, with every token labelled.
func (tr trial) batch(e *Engine) data.Batch {
	rows := tr.rows[:tr.Batch]
	for i := range rows {
		rows[i].Labels = rows[i].IDs
	}
	return e.Collate(rows, 0)
}

// A token costs two FLOPs a parameter in the forward, as much for each of the input's and the
// weight's gradient, and what recompute does again stands by itself.
func TestCostsOfAStep(t *testing.T) {
	for _, method := range []string{"full", "lora"} {
		tr := newTrial(method)
		e := tr.start(t)
		b := tr.batch(e)
		costs, err := e.Costs(b)
		require.NoError(t, err)
		var parameters, attention int64
		for _, s := range e.Net.Model.Specs() {
			if s.Part == model.Projection {
				parameters += s.Count()
			}
		}
		for _, p := range e.Net.Trained {
			if method == "lora" {
				parameters += p.Value.Count()
			}
		}
		for _, c := range costs {
			if c.Family == "attention" {
				attention += int64(c.FLOPs)
			}
		}
		plain := byPhase(costs)
		products := float64(2 * int64(b.Rows*b.Seq) * parameters)
		require.Positive(t, attention)
		require.Equal(t, products+float64(attention), plain[PhaseForward])
		require.Zero(t, plain[PhaseRecompute])
		require.Zero(t, plain[PhaseUpdate])
		require.Positive(t, plain[PhaseHead])
		if method == "full" { // the first projections' input, the embedding, has a gradient too
			require.Equal(t, 2*products+2.5*float64(attention), plain[PhaseBackward])
		}

		tr.Recompute = "block"
		e = tr.start(t)
		costs, err = e.Costs(tr.batch(e))
		require.NoError(t, err)
		again := byPhase(costs)
		require.Positive(t, again[PhaseRecompute])
		require.LessOrEqual(t, again[PhaseRecompute], plain[PhaseForward])
		delete(again, PhaseRecompute)
		delete(plain, PhaseRecompute)
		require.Equal(t, plain, again)
	}
}

// A profile has the nodes of a step, all timed; kinds name each once.
func TestProfileOfAStep(t *testing.T) {
	for _, accumulation := range []int{1, 2} {
		tr := newTrial("qlora")
		tr.Accumulation, tr.Recompute = accumulation, "selective"
		e := tr.start(t)
		b := tr.batch(e)
		costs, err := e.Costs(b)
		require.NoError(t, err)
		timed, err := e.Profile(b)
		require.NoError(t, err)
		require.Len(t, timed, len(costs))
		phases := map[string]int{}
		for i, c := range timed {
			require.Positive(t, c.Seconds)
			require.Positive(t, c.Bytes)
			phases[c.Phase]++
			c.Seconds = 0
			require.Equal(t, costs[i], c)
		}
		require.Len(t, phases, len(StepPhases), "%v", phases)

		kinds, err := e.Kinds(b, time.Microsecond)
		require.NoError(t, err)
		count, families := 0, map[string]bool{}
		for _, c := range kinds {
			require.Positive(t, c.Seconds)
			count += c.Count
			families[c.Family] = true
		}
		require.Less(t, len(kinds), len(costs))
		require.Greater(t, count, len(costs), "what fills the states too")
		for _, name := range []string{"linear", "linear_grad_input", "attention_grad", "adamw", "random"} {
			require.True(t, families[name], name)
		}
	}
}
