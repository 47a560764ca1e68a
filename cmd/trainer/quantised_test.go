package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/op"
	"trainer/fault"
	"trainer/files/peft"
	"trainer/files/safetensors"
)

// writtenTensor is a tensor of a file that a test writes.
type writtenTensor struct {
	safetensors.Spec
	data []byte
}

func floatTensor(name string, values []float32, shape ...int64) writtenTensor {
	if shape == nil {
		shape = []int64{int64(len(values))}
	}
	return writtenTensor{safetensors.Spec{Name: name, DType: "F32", Shape: shape}, safetensors.AppendFloats(nil, values, "F32")}
}

func byteTensor(name, dtype string, data []byte, shape ...int64) writtenTensor {
	return writtenTensor{safetensors.Spec{Name: name, DType: dtype, Shape: shape}, data}
}

// quantiser stores a matrix [out, in] as another program does, and tells what its codes
// stand for.
type quantiser struct {
	config string // member of config.json
	tables bool   // the embedding is quantised, too
	store  func(module string, x []float32, out, in int64) (stored []writtenTensor, means []float32)
}

var storedBy = map[string]quantiser{
	"nf4": {config: `"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}`, store: func(module string, x []float32, out, in int64) ([]writtenTensor, []float32) {
		return storeTabled("nf4", op.NF4Values[:], module, x, out, in)
	}},
	"fp4": {config: `"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}`, store: func(module string, x []float32, out, in int64) ([]writtenTensor, []float32) {
		return storeTabled("fp4", op.FP4Values[:], module, x, out, in)
	}},
	"int8": {config: `"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true}`, store: storeInt8},
	"hqq":  {config: `"quantization_config": {"quant_method": "hqq"}`, store: storeHQQ},
	"mlx":  {config: `"quantization": {"group_size": 32, "bits": 4}, "quantization_config": {"group_size": 32, "bits": 4}`, tables: true, store: storeMLX},
}

// storeTabled stores blocks of 64 as bitsandbytes does; the scales of NF4 are nested.
func storeTabled(kind string, numbers []float64, module string, x []float32, out, in int64) (stored []writtenTensor, means []float32) {
	name, data, means := module+".weight", make([]byte, len(x)/2), make([]float32, len(x))
	var absmax []float32
	for i := range x {
		if i%64 == 0 {
			most := 0.0
			for _, v := range x[i : i+64] {
				most = max(most, math.Abs(float64(v)))
			}
			absmax = append(absmax, float32(most))
		}
	}
	state := fmt.Sprintf(`{"quant_type": %q, "blocksize": 64, "dtype": "bfloat16", "shape": [%d, %d]`, kind, out, in)
	scales := floatTensor(name+".absmax", absmax)
	if kind == "nf4" {
		codes, steps, outer := make([]byte, len(absmax)), make([]float32, 256), make([]float32, (len(absmax)+255)/256)
		for i := range steps {
			steps[i] = float32(i) / 255
		}
		for i := range outer {
			outer[i] = 2
		}
		for i, v := range absmax {
			codes[i] = byte(math.Round(float64(v-0.125) / 2 * 255))
			absmax[i] = steps[codes[i]]*2 + 0.125
		}
		scales = byteTensor(name+".absmax", "U8", codes, int64(len(codes)))
		stored = append(stored, floatTensor(name+".nested_absmax", outer), floatTensor(name+".nested_quant_map", steps))
		state += `, "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.125`
	}
	state += "}"
	table := make([]float32, len(numbers))
	for code, n := range numbers {
		table[code] = float32(n)
	}
	for i, v := range x {
		nearest := 0
		for code, n := range table {
			if scale := absmax[i/64]; math.Abs(float64(n*scale-v)) < math.Abs(float64(table[nearest]*scale-v)) {
				nearest = code
			}
		}
		data[i/2] |= byte(nearest << (4 * (1 - i%2)))
		means[i] = table[nearest] * absmax[i/64]
	}
	return append(stored, scales, byteTensor(name, "U8", data, int64(len(data)), 1), floatTensor(name+".quant_map", table),
		byteTensor(name+".quant_state.bitsandbytes__"+kind, "U8", []byte(state), int64(len(state)))), means
}

// evenly spreads 16 codes over each group of x: x is about code * scale + low.
func evenly(x []float32, group int) (codes []byte, scale, low []float32) {
	for at := 0; at < len(x); at += group {
		least, most := x[at], x[at]
		for _, v := range x[at : at+group] {
			least, most = min(least, v), max(most, v)
		}
		step := max((most-least)/15, 1e-6)
		scale, low = append(scale, step), append(low, least)
		for _, v := range x[at : at+group] {
			codes = append(codes, byte(min(15, max(0, math.Round(float64((v-least)/step))))))
		}
	}
	return codes, scale, low
}

// storeHQQ stores groups of 64 along rows as HQQ does, the first half of the groups in the
// high nibbles.
func storeHQQ(module string, x []float32, out, in int64) (stored []writtenTensor, means []float32) {
	codes, scale, zero := evenly(x, 64)
	for g := range zero {
		zero[g] = -zero[g] / scale[g]
	}
	half := len(codes) / 2
	data := make([]byte, half)
	for i, c := range codes {
		data[i%half] |= c << (4 * (1 - i/half))
		means = append(means, (float32(c)-zero[i/64])*scale[i/64])
	}
	integer := func(name string, values ...int64) writtenTensor {
		var data []byte
		for _, v := range values {
			data = binary.LittleEndian.AppendUint64(data, uint64(v))
		}
		return byteTensor(module+name, "I64", data, int64(len(values)))
	}
	groups := int64(len(scale))
	return []writtenTensor{byteTensor(module+".W_q", "U8", data, groups/2, 64), floatTensor(module+".scale", scale, groups, 1), floatTensor(module+".zero", zero, groups, 1),
		integer(".shape", out, in), integer(".group_size", 64), integer(".axis", 1), integer(".nbits", 4), byteTensor(module+".packing", "U8", []byte("4bit_u8"), 7)}, means
}

// storeInt8 stores rows as LLM.int8() does.
func storeInt8(module string, x []float32, out, in int64) (stored []writtenTensor, means []float32) {
	data, absmax := make([]byte, len(x)), make([]float32, out)
	for i, v := range x {
		absmax[int64(i)/in] = max(absmax[int64(i)/in], float32(math.Abs(float64(v))))
	}
	for i, v := range x {
		most := absmax[int64(i)/in]
		code := int8(math.Round(float64(v / most * 127)))
		data[i] = byte(code)
		means = append(means, float32(code)*(most/127))
	}
	return []writtenTensor{byteTensor(module+".weight", "I8", data, out, in), floatTensor(module+".SCB", absmax)}, means
}

// storeMLX stores groups of 32 as mlx_lm does.
func storeMLX(module string, x []float32, out, in int64) (stored []writtenTensor, means []float32) {
	codes, scale, zero := evenly(x, 32)
	data := make([]byte, len(codes)/2)
	for i, c := range codes {
		data[i/2] |= c << (4 * (i % 2))
		means = append(means, float32(c)*scale[i/32]+zero[i/32])
	}
	return []writtenTensor{byteTensor(module+".weight", "U32", data, out, in/8), floatTensor(module+".scales", scale, out, in/32), floatTensor(module+".biases", zero, out, in/32)}, means
}

// quantisedDemo writes the demo's model as a quantiser stores it, and a dense one of the same
// values.
func quantisedDemo(t *testing.T, q quantiser) (stored, dense string) {
	t.Helper()
	from, err := safetensors.Open(filepath.Join(demoFile(t, "model"), "model.safetensors"))
	require.NoError(t, err)
	defer from.Close()
	var codes, means []writtenTensor
	for _, name := range from.Names() {
		info, _ := from.Tensor(name)
		values, err := from.ReadFloat32(info)
		require.NoError(t, err)
		if module := strings.TrimSuffix(name, ".weight"); strings.HasSuffix(module, "_proj") || q.tables && strings.HasSuffix(module, "embed_tokens") {
			var parts []writtenTensor
			parts, values = q.store(module, values, info.Shape[0], info.Shape[1])
			codes = append(codes, parts...)
		} else {
			codes = append(codes, floatTensor(name, values, info.Shape...))
		}
		means = append(means, floatTensor(name, values, info.Shape...))
	}
	stored, dense = copyModel(t), copyModel(t)
	writeTensors(t, stored, codes)
	writeTensors(t, dense, means)
	config, err := os.ReadFile(filepath.Join(stored, "config.json"))
	require.NoError(t, err)
	write(t, filepath.Join(stored, "config.json"), strings.Replace(string(config), "{", "{"+q.config+",", 1))
	return stored, dense
}

func writeTensors(t *testing.T, dir string, tensors []writtenTensor) {
	t.Helper()
	var specs []safetensors.Spec
	for _, x := range tensors {
		specs = append(specs, x.Spec)
	}
	w, err := safetensors.Create(weightsFile(dir), specs, safetensors.PyTorchMetadata())
	require.NoError(t, err)
	for _, x := range tensors {
		require.NoError(t, w.Write(x.Name, x.data))
	}
	require.NoError(t, w.Commit())
}

// A model that another program quantised is what its codes stand for, as the base of
// adapters, which name it.
func TestModelsThatAreStoredQuantised(t *testing.T) {
	t.Parallel()
	original := evaluate(t, "--model_name", demoFile(t, "model"))
	for name, q := range storedBy {
		t.Run(name, func(t *testing.T) {
			stored, dense := quantisedDemo(t, q)
			loss := evaluate(t, "--model_name", dense)
			require.NotEqual(t, original, loss)
			r := newRealRun(t, "lora", "--model_name", stored)
			lines := r.train(t)
			require.InEpsilon(t, loss, lines[1]["loss"], 1e-6)
			require.Less(t, lines[4]["loss"], loss)
			c, err := peft.ReadConfig(r.out)
			require.NoError(t, err)
			require.Equal(t, stored, c.BaseModel)
		})
	}
}

// It evaluates and answers like that, too, and a plan knows that its weights are small.
func TestCommandsOnAQuantisedModel(t *testing.T) {
	stored, dense := quantisedDemo(t, storedBy["nf4"])
	require.InEpsilon(t, evaluate(t, "--model_name", dense), evaluate(t, "--model_name", stored), 1e-6)
	answer := func(model string) string {
		r := trainer(t, "generate", "--model_name", model, "--prompt", "What is 3 + 4?", "--max_new_tokens", "8", "--precision", "fp32", "--backend_path", filepath.Dir(realBackend(t)))
		require.Equal(t, 0, r.code, r.err)
		return r.out
	}
	require.Equal(t, answer(dense), answer(stored))
	require.Less(t, plannedWeights(t, stored), plannedWeights(t, dense)/2)
}

// plannedWeights are the bytes that a plan says base weights take.
func plannedWeights(t *testing.T, model string) int64 {
	t.Helper()
	r := trainer(t, "plan", "--model_name", model, "--train_type", "lora", "--precision", "fp32", "--backend_path", filepath.Dir(realBackend(t)), "--json")
	require.Equal(t, 0, r.code, r.err)
	var plan PlanReport
	require.NoError(t, json.Unmarshal([]byte(r.out), &plan))
	require.Equal(t, "base weights", plan.Kinds[0].Name)
	return plan.Kinds[0].Bytes
}

// What cannot be done with a quantised model, and one that is damaged, is refused.
func TestQuantisedModelsAreRefused(t *testing.T) {
	stored, _ := quantisedDemo(t, storedBy["nf4"])
	requireSentence(t, trainer(t, newRealRun(t, "full", "--model_name", stored).args...), fault.Usage,
		"--train_type: found full with a model that is stored quantised (nf4), expected a train type with adapters")
	requireSentence(t, trainer(t, newRealRun(t, "lora", "--model_name", stored, "--quantization", "mlx").args...), fault.Usage,
		"--quantization: found mlx with a model that is stored as nf4, expected nf4")
	for _, refused := range [][2]string{{"qlora", "nf4"}, {"lora", "none"}} { // what the train type says without it
		hqq, _ := quantisedDemo(t, storedBy["hqq"])
		file := filepath.Join(t.TempDir(), "settings.yaml")
		write(t, file, "quantization: "+refused[1])
		for _, given := range [][]string{{"--quantization", refused[1]}, {"--config", file}} {
			requireSentence(t, trainer(t, newRealRun(t, refused[0], append(given, "--model_name", hqq)...).args...), fault.Usage,
				"--quantization: found "+refused[1]+" with a model that is stored as hqq, expected hqq; or name the folder of the original weights")
		}
	}
	requireSentence(t, trainer(t, "merge", "--model_name", stored, "--adapter", oracle(t, "steps", "lora.final"), "--output_dir", filepath.Join(t.TempDir(), "out")), fault.Files,
		"found a quantised weight, expected one of 16 or 32 bits; name the folder of the original weights")
	for part, says := range map[string]string{".nested_absmax": "element 0: found NaN, expected a finite number", ".quant_map": "expected the numbers of NF4", ".absmax": "no such tensor"} {
		t.Run(part, func(t *testing.T) {
			stored, _ := quantisedDemo(t, storedBy["nf4"])
			w, name := readWeights(t, weightsFile(stored)), aMatrix+part
			if part == ".absmax" {
				w.header[aMatrix+".other"] = w.header[name]
				delete(w.header, name)
			} else {
				from, _ := w.offsets(name)
				binary.LittleEndian.PutUint32(w.data[int(from):], math.Float32bits(float32(math.NaN())))
			}
			w.write(t, weightsFile(stored))
			requireSentence(t, trainer(t, newRealRun(t, "lora", "--model_name", stored).args...), fault.Files, name, says)
		})
	}
}
