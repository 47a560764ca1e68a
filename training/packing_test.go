package training

import (
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/training/data"
)

// packed is the trial with its rows packed into rows of at most context tokens, as many
// samples a step as before.
func (tr trial) packed(context int) trial {
	tr.Packed = max(longestRow(tr.rows), longestRow(tr.eval))
	tr.rows, tr.eval = data.Pack(tr.rows, context), data.Pack(tr.eval, context)
	tr.Batch = int64(len(tr.rows))
	return tr
}

func longestRow(rows []data.Example) (n int64) {
	for _, r := range rows {
		n = max(n, int64(len(r.IDs)))
	}
	return n
}

// Packed samples do not see each other: losses, gradients and the loss of an evaluation
// are those of samples in rows of their own, dropout included.
func TestPackingChangesNoLoss(t *testing.T) {
	for _, method := range []string{"lora", "qlora", "bnb_dora", "full"} {
		for _, recompute := range []string{"none", "block"} {
			single := newTrial(method)
			single.Batch, single.Recompute = int64(len(single.rows)), recompute
			single.eval, single.lr = madeUpRows(5, 300), 1e-3
			losses := func(tr trial) (steps, evals []float64) {
				e := tr.start(t)
				l := tr.loop()
				l.Epochs = 4
				var s seen
				_, err := e.Train(t.Context(), l, &s)
				require.NoError(t, err)
				for _, v := range s.evals {
					evals = append(evals, float64(v.Loss))
				}
				return s.losses(), evals
			}
			steps, evals := losses(single)
			packed := single.packed(60)
			require.Less(t, len(packed.rows), len(single.rows)/2)
			packedSteps, packedEvals := losses(packed)
			requireSameLosses(t, steps, packedSteps, method+" "+recompute)
			requireSameLosses(t, evals, packedEvals, method+" "+recompute+", evaluation")
		}
	}
}

// One step of SGD moves every weight by its gradient.
func TestPackingChangesNoGradient(t *testing.T) {
	rule, err := RuleByName("sgd")
	require.NoError(t, err)
	for _, method := range []string{"lora", "full"} {
		single := newTrial(method)
		single.Optimizer, single.lr = Optimizer{Rule: rule}, 1
		single.Batch = int64(len(single.rows))
		if method == "full" {
			single.dropout = 0
		}
		moved := func(tr trial) map[string][]float32 {
			e := tr.start(t)
			before := e.trained(t)
			_, err := e.Train(t.Context(), tr.loop(), &seen{})
			require.NoError(t, err)
			after := e.trained(t)
			for name, w := range after {
				for i := range w {
					w[i] = before[name][i] - w[i]
				}
			}
			return after
		}
		want, got := moved(single), moved(single.packed(60))
		require.Len(t, got, len(want))
		scale := 0.0
		for _, g := range want {
			scale = max(scale, largest(g))
		}
		for name, g := range want {
			closeTo(t, method+" "+name, got[name], g, 1e-5, scale)
		}
	}
}

// trained are the values of everything that is trained.
func (e *Engine) trained(t *testing.T) map[string][]float32 {
	t.Helper()
	values := map[string][]float32{}
	for _, p := range e.Net.Trained {
		raw, err := e.Session.Read(p.Value)
		require.NoError(t, err)
		values[p.Name] = floatsOf(raw)
	}
	return values
}
