package training

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
	"trainer/files/safetensors"
	"trainer/llama"
	"trainer/training/data"
	"trainer/training/metrics"
	"trainer/training/optim"
)

// trial is a short run of a small model on made-up rows, on the real backend.
type trial struct {
	model    string // folder; empty = the tiny llama2 of the oracles
	method   string
	dropout  float64
	rows     []data.Example
	eval     []data.Example
	lr       float64
	generate int64
	options  plugin.DeviceOptions
	Settings
}

// trainType is a method and a storage by the name a person gives both.
func trainType(t *testing.T, name string) Method {
	t.Helper()
	parts, ok := map[string][2]string{"full": {"full", "none"}, "lora": {"lora", "none"}, "qlora": {"lora", "nf4"}, "hqq_lora": {"lora", "hqq"}, "mlx_lora": {"lora", "mlx"}, "int8_lora": {"lora", "int8"},
		"dora": {"dora", "none"}, "bnb_dora": {"dora", "nf4"}, "hqq_dora": {"dora", "hqq"},
		"llama_pro": {"llama_pro", "none"}, "bnb_llama_pro": {"llama_pro", "nf4"}, "hqq_llama_pro": {"llama_pro", "hqq"}}[name]
	require.True(t, ok, name)
	m, err := MethodByName(parts[0])
	require.NoError(t, err)
	m.Storage, err = Storage{Name: parts[1], Bits: 4, Group: 64}.Format()
	require.NoError(t, err)
	return m
}

// newTrial is a trial with dropout and rows of unequal lengths.
func newTrial(method string) trial {
	precision, _ := program.PrecisionByName("fp32")
	return trial{method: method, dropout: 0.1, lr: 5e-3, rows: madeUpRows(12, 320),
		Settings: Settings{Precision: precision, Optimizer: Optimizer{Rule: rules[0], Beta1: 0.9, Beta2: 0.95, Eps: 1e-5, WeightDecay: 0.1},
			Batch: 4, Accumulation: 1, Grain: 8, Recompute: "none", PerToken: true, Seed: 42}}
}

// madeUpRows are n rows of 9 to 24 tokens with prompts of unequal lengths.
func madeUpRows(n, vocab int) []data.Example {
	r := rand.New(rand.NewPCG(1, 2))
	rows := make([]data.Example, n)
	for i := range rows {
		length := 9 + r.IntN(16)
		e := data.Example{Row: i}
		for range length {
			e.IDs = append(e.IDs, int32(r.IntN(vocab)))
		}
		e.Labels = slices.Clone(e.IDs)
		for t := range 1 + r.IntN(length-4) {
			e.Labels[t] = data.Ignored
		}
		rows[i] = e
	}
	return rows
}

// sameLabels gives every row as many labels.
func sameLabels(rows []data.Example, labels int) []data.Example {
	for i := range rows {
		copy(rows[i].Labels, rows[i].IDs)
		for t := range len(rows[i].Labels) - labels {
			rows[i].Labels[t] = data.Ignored
		}
	}
	return rows
}

func (tr trial) loop() Loop {
	l := Loop{Train: &data.Dataset{Examples: tr.rows}, Epochs: 1, MaxSteps: -1, Schedule: optim.Schedule{Kind: "constant", LR: tr.lr}}
	if tr.eval != nil {
		l.Eval = &data.Dataset{Examples: tr.eval}
	}
	return l
}

// plan opens a device and plans the trial on it. Nothing is allocated.
func (tr trial) plan(t *testing.T) (*Engine, error) {
	t.Helper()
	if tr.model == "" {
		tr.model = oracles + "models/llama2"
	}
	method := trainType(t, tr.method)
	if method.Expanded {
		shape, err := llama.ReadConfig(tr.model)
		require.NoError(t, err)
		tr.model = expanded(t, tr.model, shape.NumLayers+1)
	}
	config, err := llama.ReadConfig(tr.model)
	require.NoError(t, err)
	weights, err := safetensors.OpenFolder(tr.model)
	require.NoError(t, err)
	t.Cleanup(func() { weights.Close() })
	method.Blocks = config.NewBlocks
	lora := LoRA{Rank: 8, Alpha: 16, Dropout: tr.dropout, Targets: []string{"q_proj", "k_proj", "v_proj", "up_proj", "down_proj", "gate_proj"}}
	uses := tr.loop().Uses(tr.Settings)
	uses.Source, uses.Generate = NewSource(weights), tr.generate
	return NewEngine(openSessionWith(t, tr.options), NewNetwork(llama.Model{Config: config}, method, lora), tr.Settings, uses)
}

// start plans and loads.
func (tr trial) start(t *testing.T) *Engine {
	t.Helper()
	e, err := tr.plan(t)
	require.NoError(t, err)
	require.NoError(t, e.Allocate())
	return e
}

// run trains to the end and returns the loss of every step.
func (tr trial) run(t *testing.T) (*Engine, []float64) {
	t.Helper()
	e := tr.start(t)
	var seen seen
	_, err := e.Train(context.Background(), tr.loop(), &seen)
	require.NoError(t, err)
	return e, seen.losses()
}

// seen takes down what a loop tells.
type seen struct {
	steps []metrics.Step
	evals []metrics.Eval
}

func (s *seen) Step(m metrics.Step) error { s.steps = append(s.steps, m); return nil }
func (s *seen) Eval(m metrics.Eval) error { s.evals = append(s.evals, m); return nil }

func (s *seen) losses() []float64 {
	var losses []float64
	for _, m := range s.steps {
		losses = append(losses, float64(m.Loss))
	}
	return losses
}

// states are the bytes of everything that training changes.
func (e *Engine) states(t *testing.T) map[string][]byte {
	t.Helper()
	states := map[string][]byte{}
	for _, p := range e.Net.Trained {
		for _, v := range append([]*op.Value{p.Value}, p.Moments...) {
			raw, err := e.Session.Read(v)
			require.NoError(t, err)
			states[v.Name] = raw
		}
	}
	return states
}

// requireSameLosses compares two runs step by step, 1e-5 relative.
func requireSameLosses(t *testing.T, want, got []float64, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	require.Greater(t, len(want), 1, what)
	for i := range want {
		require.InEpsilon(t, want[i], got[i], 1e-5, "%s: loss of step %d", what, i+1)
	}
}

// adapterBytes are the files of the saved adapter.
func (e *Engine) adapterBytes(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, e.SaveAdapter(dir, "base"))
	return folderBytes(t, dir)
}

func folderBytes(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		files[e.Name()] = string(text)
	}
	return files
}
