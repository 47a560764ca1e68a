package training

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
	"trainer/core/session"
	"trainer/files/safetensors"
	"trainer/llama"
	"trainer/llama/surgery"
	"trainer/training/data"
)

const oracles = "../testdata/oracles/"

// backendFile is the backend the oracles are computed on.
func backendFile(t *testing.T) string {
	t.Helper()
	path := os.Getenv("TRAINER_BACKEND")
	if path == "" {
		path = "../build/lib/trainer/backends/trainer-backend-cpu.so"
	}
	_, err := os.Stat(path)
	require.NoError(t, err, "the backend is not built: run make build")
	path, err = filepath.Abs(path)
	require.NoError(t, err)
	return path
}

func openSession(t *testing.T) *session.Session {
	t.Helper()
	return openSessionWith(t, plugin.DeviceOptions{})
}

func openSessionWith(t *testing.T, options plugin.DeviceOptions) *session.Session {
	t.Helper()
	backend, err := plugin.Load("cpu", backendFile(t))
	require.NoError(t, err)
	device, err := backend.OpenDevice(0, options)
	require.NoError(t, err)
	s, err := session.Open(device, ParamsBytes)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// oracle is a safetensors file of reference values.
type oracle struct {
	t    *testing.T
	file *safetensors.File
}

func openOracle(t *testing.T, name string) oracle {
	t.Helper()
	f, err := safetensors.Open(oracles + name)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return oracle{t, f}
}

func (o oracle) floats(name string) []float32 {
	o.t.Helper()
	info, ok := o.file.Tensor(name)
	require.True(o.t, ok, "%s", name)
	values, err := o.file.ReadFloat32(info)
	require.NoError(o.t, err)
	return values
}

func (o oracle) ints(name string) ([]int32, []int64) {
	o.t.Helper()
	info, ok := o.file.Tensor(name)
	require.True(o.t, ok, "%s", name)
	raw := make([]byte, info.Bytes)
	require.NoError(o.t, o.file.Read(info, raw, 0))
	values := make([]int32, len(raw)/4)
	for i := range values {
		values[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return values, info.Shape
}

// batch reads input ids and labels as one micro-batch.
func (o oracle) batch(prefix string) data.Batch {
	ids, shape := o.ints(prefix + "input_ids")
	labels, _ := o.ints(prefix + "labels")
	var examples []data.Example
	n := int(shape[1])
	for r := range int(shape[0]) {
		examples = append(examples, data.Example{IDs: ids[r*n : (r+1)*n], Labels: labels[r*n : (r+1)*n], Row: r})
	}
	return data.Collate(examples, 0, n)
}

// closeTo requires max |got - want| <= tolerance * scale.
func closeTo(t *testing.T, name string, got, want []float32, tolerance, scale float64) {
	t.Helper()
	require.Len(t, got, len(want), name)
	worst := 0.0
	for i := range got {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(d) {
			d = math.Inf(1)
		}
		worst = max(worst, d)
	}
	require.LessOrEqual(t, worst, tolerance*scale, "%s: largest difference, scale %g", name, scale)
}

func largest(x []float32) (m float64) {
	for _, v := range x {
		m = max(m, math.Abs(float64(v)))
	}
	return m
}

// testModel loads a tiny model of the oracles into an engine. change adjusts settings.
func testModel(t *testing.T, name string, method Method, lora LoRA, change func(*Settings)) *Engine {
	t.Helper()
	return testModelAt(t, oracles+"models/"+name, method, lora, change)
}

func testModelAt(t *testing.T, folder string, method Method, lora LoRA, change func(*Settings)) *Engine {
	t.Helper()
	config, err := llama.ReadConfig(folder)
	require.NoError(t, err)
	precision, err := program.PrecisionByName("fp32")
	require.NoError(t, err)
	set := Settings{Precision: precision, Optimizer: Optimizer{Rule: rules[0], Beta1: 0.9, Beta2: 0.95, Eps: 1e-5, WeightDecay: 0.1},
		Batch: 2, Accumulation: 2, Grain: 8, Recompute: "none"}
	if change != nil {
		change(&set)
	}
	weights, err := safetensors.OpenFolder(folder)
	require.NoError(t, err)
	t.Cleanup(func() { weights.Close() })
	shape := llama.Model{Config: config}
	stored, err := llama.Quantised(config, weights)
	require.NoError(t, err)
	source, err := NewQuantisedSource(weights, stored, shape.Specs())
	require.NoError(t, err)
	method = method.On(source, shape.Specs())
	uses := Uses{Source: source, Train: []int64{32}, Evaluate: []int64{32}, Generate: 32}
	e, err := NewEngine(openSession(t), NewNetwork(shape, method, lora), set, uses)
	require.NoError(t, err)
	require.NoError(t, e.Allocate())
	return e
}

// read returns a state's values.
func (e *Engine) read(t *testing.T, v *op.Value) []float32 {
	t.Helper()
	raw, err := e.Session.Read(v)
	require.NoError(t, err)
	values := make([]float32, v.Count())
	decode(values, raw, v.DType)
	return values
}

func TestForwardOracles(t *testing.T) {
	for _, name := range []string{"llama2", "llama3", "mistral", "qwen2", "qwen3", "phi3"} {
		t.Run(name, func(t *testing.T) {
			e := testModel(t, name, trainType(t, "full"), LoRA{}, nil)
			o := openOracle(t, "forward/"+name+".safetensors")
			b := o.batch("")
			checkHidden(t, e, o, b)
			ticket, loss, err := e.micro(b, true, e.params(0, 1/float64(b.Labelled), 0))
			require.NoError(t, err)
			out, err := ticket.Wait()
			require.NoError(t, err)
			want := float64(o.floats("loss")[0])
			require.InEpsilon(t, want, float32At(out[loss])/float64(b.Labelled), 2e-5)
			for _, p := range e.Net.Trained {
				reference := o.floats("grad." + p.Name)
				closeTo(t, p.Name, e.read(t, p.Grad), reference, 1e-3, largest(reference))
			}
		})
	}
}

// checkHidden compares hidden states and logits, which it copies out of a body built for
// the purpose.
func checkHidden(t *testing.T, e *Engine, o oracle, b data.Batch) {
	t.Helper()
	body := buildBody(e.Net, e.scalars, e.Settings.Precision, bodySpec{batch: int64(b.Rows), seq: int64(b.Seq)})
	nodes := body.Graph.Nodes[:len(body.Graph.Nodes)-1]
	builder := op.Builder{Graph: &op.Graph{Nodes: nodes}}
	layers := e.Net.Model.Layers()
	wanted := map[string]*op.Value{fmt.Sprintf("h.%d", layers): body.Hidden}
	for _, v := range builder.Graph.Roots() {
		if strings.HasPrefix(v.Name, "h.") {
			wanted[v.Name] = v
		}
	}
	outputs := map[string]*op.Value{}
	for name, v := range wanted {
		outputs[name] = op.NewValue("out."+name, op.Output, op.Fixed, abi.F32, v.Shape...)
		builder.Copy(outputs[name], v)
	}
	logits := builder.Linear(op.Linear{Projections: []op.Projection{{Weight: e.Net.Head()}}}, body.Hidden, nil)
	outputs["logits"] = op.NewValue("out.logits", op.Output, op.Fixed, abi.F32, logits.Shape...)
	builder.Copy(outputs["logits"], logits)
	program.Assign(builder.Graph, e.Settings.Precision)
	s2 := testSessionLike(t, e)
	p, err := s2.Compile(builder.Graph, nil, nil)
	require.NoError(t, err)
	require.NoError(t, s2.Allocate())
	copyStates(t, e, s2)
	ticket, err := s2.Run(session.Run{Params: e.params(0, 0, 0), Inputs: tokenInputs(body, b), Parts: []session.Part{{Program: p}}})
	require.NoError(t, err)
	out, err := ticket.Wait()
	require.NoError(t, err)
	for name, v := range outputs {
		got := make([]float32, v.Count())
		decode(got, out[v], abi.F32)
		reference := o.floats(strings.Replace(name, "h.", "hidden.", 1))
		closeTo(t, name, got, reference, 1e-4, largest(reference))
	}
}

// testSessionLike opens a second session with the same states placed.
func testSessionLike(t *testing.T, e *Engine) *session.Session {
	t.Helper()
	s := openSession(t)
	require.NoError(t, s.Place(append(e.Net.States(false), constantsOf(e.Net)...)))
	return s
}

func constantsOf(n *Network) (values []*op.Value) {
	for _, v := range n.constants {
		values = append(values, v)
	}
	return values
}

func copyStates(t *testing.T, e *Engine, to *session.Session) {
	t.Helper()
	for _, v := range append(e.Net.States(false), constantsOf(e.Net)...) {
		raw, err := e.Session.Read(v)
		require.NoError(t, err)
		require.NoError(t, to.Write(nil, v, 0, raw))
	}
}

// stepsRun is one file of oracles/steps.
type stepsRun struct {
	MaxGradNorm       float64 `json:"max_grad_norm"`
	LossNormalization string  `json:"loss_normalization"`
	Model             string  `json:"model"`
	Optimizer         struct {
		Name        string
		LR          float64
		Betas       []float64
		Eps         float64
		WeightDecay float64 `json:"weight_decay"`
	}
	Layers    int   // of an expanded model
	NewBlocks []int `json:"new_blocks"`
	HQQ       *struct {
		Bits  uint32 `json:"nbits"`
		Group uint32 `json:"group_size"`
		Axis  int
	}
	Adapter *struct {
		R       int64
		Alpha   float64
		Targets []string
	}
	Final map[string]struct {
		Sum, L2     float64
		First, Last []float32
	}
	Steps []struct {
		MicroLosses []float64 `json:"micro_losses"`
		Loss        float64
		GradNorm    float64 `json:"grad_norm"`
	}
}

func TestStepOracles(t *testing.T) {
	runs := []struct {
		name, method, precision string
		lossTolerance           float64
	}{
		{"full", "full", "fp32", 2e-5}, {"full_clip", "full", "fp32", 2e-5},
		{"full_adam", "full", "fp32", 2e-5}, {"full_sgd", "full", "fp32", 2e-5}, {"full_adadelta", "full", "fp32", 2e-5}, {"full_llama3", "full", "fp32", 2e-5},
		{"full_mistral", "full", "fp32", 2e-5}, {"full_qwen2", "full", "fp32", 2e-5}, {"full_qwen3", "full", "fp32", 2e-5},
		{"lora", "lora", "fp32", 2e-5}, {"qlora", "qlora", "fp32", 2e-5}, {"dora", "dora", "fp32", 2e-5}, {"bnb_dora", "bnb_dora", "fp32", 2e-5},
		{"llama_pro", "llama_pro", "fp32", 2e-5}, {"bnb_llama_pro", "bnb_llama_pro", "fp32", 2e-5},
		{"hqq_lora", "hqq_lora", "fp32", 2e-5}, {"hqq_lora_axis0", "hqq_lora", "fp32", 2e-5}, {"hqq_lora_2bit", "hqq_lora", "fp32", 2e-5},
		{"hqq_dora", "hqq_dora", "fp32", 2e-5}, {"hqq_llama_pro", "hqq_llama_pro", "fp32", 2e-5},
		{"full_bf16_autocast", "full", "bf16_autocast", 1e-3},
		{"unequal_token", "full", "fp32", 2e-5}, {"unequal_micro_batch", "full", "fp32", 2e-5},
	}
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			text, err := os.ReadFile(oracles + "steps/" + r.name + ".json")
			require.NoError(t, err)
			var want stepsRun
			require.NoError(t, json.Unmarshal(text, &want))
			e := stepEngine(t, r.method, r.precision, want)
			if want.Adapter != nil {
				require.NoError(t, e.LoadAdapter(oracles+"steps/"+r.name+".initial"))
			}
			initial := trainedValues(t, e)
			batches := openOracle(t, "steps/batches.safetensors")
			if strings.HasPrefix(r.name, "unequal") {
				batches = openOracle(t, "steps/unequal.batches.safetensors")
			}
			for i, step := range want.Steps {
				micro := []data.Batch{batches.batch(fmt.Sprintf("step%d.micro0.", i)), batches.batch(fmt.Sprintf("step%d.micro1.", i))}
				got, err := e.Step(micro, want.Optimizer.LR, i)
				require.NoError(t, err)
				require.InEpsilon(t, step.Loss, got.Loss, r.lossTolerance, "loss of step %d", i)
				if r.precision == "fp32" {
					require.InEpsilon(t, step.GradNorm, got.GradNorm, 1e-4, "gradient norm of step %d", i)
				}
			}
			if r.precision == "fp32" {
				checkFinal(t, e, r.name, want, initial)
			}
		})
	}
}

func stepEngine(t *testing.T, methodName, precision string, want stepsRun) *Engine {
	t.Helper()
	var err error
	var lora LoRA
	if want.Adapter != nil {
		lora = LoRA{Rank: want.Adapter.R, Alpha: want.Adapter.Alpha, Targets: want.Adapter.Targets}
	}
	model, method := oracles+"models/"+cmp.Or(want.Model, "llama2"), trainType(t, methodName)
	if methodName == "mlx_lora" { // as mlx_lm wrote the oracle's checkpoint
		var err error
		method.Storage, err = Storage{Name: "mlx", Bits: 4, Group: 32}.Format()
		require.NoError(t, err)
	}
	if h := want.HQQ; h != nil {
		var err error
		method.Storage, err = Storage{Name: "hqq", Bits: h.Bits, Group: h.Group, Interleaved: h.Axis == 0}.Format()
		require.NoError(t, err)
	}
	if method.Expanded {
		method.Blocks = want.NewBlocks
		model = expanded(t, model, want.Layers)
	}
	return testModelAt(t, model, method, lora, func(s *Settings) {
		s.PerToken = want.LossNormalization == "token"
		o := want.Optimizer
		s.Optimizer = Optimizer{Eps: o.Eps, WeightDecay: o.WeightDecay, MaxNorm: want.MaxGradNorm}
		if len(o.Betas) == 2 {
			s.Optimizer.Beta1, s.Optimizer.Beta2 = o.Betas[0], o.Betas[1]
		}
		s.Optimizer.Rule, err = RuleByName(o.Name)
		require.NoError(t, err)
		s.Precision, err = program.PrecisionByName(precision)
		require.NoError(t, err)
	})
}

// expanded is a model's folder grown to so many layers.
func expanded(t *testing.T, model string, layers int) string {
	t.Helper()
	base, err := surgery.OpenBase(model)
	require.NoError(t, err)
	defer base.Close()
	e, dir := llama.Expansion{Old: base.Config.NumLayers, New: layers}, t.TempDir()
	require.NoError(t, surgery.Expand(context.Background(), base, e, dir))
	require.NoError(t, os.WriteFile(filepath.Join(dir, llama.ConfigName), base.Config.Expand(e), 0o600))
	return dir
}

func trainedValues(t *testing.T, e *Engine) map[string][]float32 {
	t.Helper()
	values := map[string][]float32{}
	for _, p := range e.Net.Trained {
		values[p.Name] = e.read(t, p.Value)
	}
	return values
}

// checkFinal compares what was trained with the oracle's final parameters or adapter.
func checkFinal(t *testing.T, e *Engine, run string, want stepsRun, initial map[string][]float32) {
	t.Helper()
	var final func(name string) []float32
	switch {
	case want.Adapter != nil:
		o := openOracle(t, "steps/"+run+".final/adapter_model.safetensors")
		final = func(name string) []float32 { return o.floats("base_model.model." + name) }
	case fileExists(oracles + "steps/" + run + ".final.safetensors"):
		final = openOracle(t, "steps/"+run+".final.safetensors").floats
	default:
		if want.Final != nil {
			checkDigests(t, e, want, initial)
		}
		return
	}
	for name, got := range trainedValues(t, e) {
		reference, moved := final(name), 0.0
		for i, v := range reference {
			moved = max(moved, math.Abs(float64(v-initial[name][i])))
		}
		closeTo(t, name, got, reference, 5e-3, moved)
	}
}

// checkDigests compares the ends of every final parameter, and its sum and length.
func checkDigests(t *testing.T, e *Engine, want stepsRun, initial map[string][]float32) {
	t.Helper()
	values := trainedValues(t, e)
	require.Equal(t, len(want.Final), len(values))
	for name, got := range values {
		require.Contains(t, want.Final, name)
		reference, moved, sum, squares := want.Final[name], 0.0, 0.0, 0.0
		for i, v := range got {
			moved = max(moved, math.Abs(float64(v-initial[name][i])))
			sum, squares = sum+float64(v), squares+float64(v)*float64(v)
		}
		closeTo(t, name, got[:len(reference.First)], reference.First, 5e-3, moved)
		closeTo(t, name, got[len(got)-len(reference.Last):], reference.Last, 5e-3, moved)
		require.InDelta(t, reference.Sum, sum, 5e-3*moved*float64(len(got)), name)
		require.InDelta(t, reference.L2, math.Sqrt(squares), 5e-3*moved*math.Sqrt(float64(len(got))), name)
	}
}

func fileExists(path string) bool { _, err := os.Stat(path); return err == nil }
