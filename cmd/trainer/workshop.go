package main

import (
	"errors"
	"maps"
	"os"
	"slices"

	"trainer/core/abi"
	"trainer/core/plugin"
	"trainer/core/session"
	"trainer/fault"
	"trainer/files/peft"
	"trainer/files/safetensors"
	"trainer/llama"
	"trainer/llama/tokenizer"
	"trainer/training"
)

// workshop is what a job works with: the model and its files, the network on a device.
// It belongs to one goroutine.
type workshop struct {
	job     Job
	model   llama.Model
	texts   string               // folder of the tokenizer and its chat template; empty where the job has no texts
	tok     *tokenizer.Tokenizer // of it
	weights *safetensors.Folder  // nil for a shape without files
	source  training.Source      // nil likewise
	net     *training.Network
	engine  *training.Engine
	backend *plugin.Backend // once it is opened
	longest int64           // tokens of the longest row of the data; 0 before it is read
	packed  int64           // of the longest sample, where rows hold several

	unlimited bool // plan as if the device had any amount of memory
}

// openWorkshop opens the files of a job's model. Close it.
func openWorkshop(job Job) (w *workshop, err error) {
	texts, tok := job.texts(), (*tokenizer.Tokenizer)(nil)
	if texts != "" {
		if tok, err = tokenizer.Load(texts); err != nil {
			return nil, err
		}
	}
	if job.Config.Shape != "" {
		w = &workshop{job: job}
		if err := w.takeShape(); err != nil {
			return nil, err
		}
	} else if w, err = openWeights(job); err != nil {
		return nil, err
	}
	w.texts, w.tok = texts, tok
	return w, nil
}

// expansionRate is by how much a shape grows where its new blocks are to be trained, as trainer
// expand does by itself.
const expansionRate = 0.1

// takeShape has a model of a known shape, which the launcher checked.
func (w *workshop) takeShape() error {
	w.model.Config, _ = llama.ShapeByName(w.job.Config.Shape)
	if !w.job.Config.Type().Expanded() {
		return nil
	}
	e, err := llama.NewExpansion(w.model.Config.NumLayers, expansionRate)
	w.model.Config = w.model.Config.Grow(e)
	return err
}

// texts is the folder whose tokenizer a job needs; empty where it has no texts.
func (j *Job) texts() string {
	if j.Command == benchCommand {
		return j.Bench.texts(*j)
	}
	return j.ModelDir
}

// openWeights opens a job's model without its tokenizer. Close it.
func openWeights(job Job) (*workshop, error) {
	w := &workshop{job: job}
	var err error
	if w.model.Config, err = llama.ReadConfig(job.ModelDir); err != nil {
		return nil, err
	}
	if w.weights, err = safetensors.OpenFolder(job.ModelDir); err != nil {
		return nil, err
	}
	if err := w.openSource(); err != nil {
		return nil, errors.Join(err, w.weights.Close())
	}
	return w, nil
}

// openSource checks the tensors and what of them is quantised.
func (w *workshop) openSource() error {
	if err := llama.CheckWeights(w.model.Config, w.weights); err != nil {
		return err
	}
	stored, err := llama.Quantised(w.model.Config, w.weights)
	if err != nil {
		return err
	}
	w.source, err = training.NewQuantisedSource(w.weights, stored, w.model.Specs())
	return err
}

// close gives everything back. An error of its own is told only where there is no other.
func (w *workshop) close(err *error) {
	closed := w.release()
	if w.weights != nil {
		closed = errors.Join(closed, w.weights.Close())
	}
	if *err == nil {
		*err = closed
	}
}

// release gives the engine's device memory back.
func (w *workshop) release() error {
	if w.engine == nil {
		return nil
	}
	s := w.engine.Session
	w.engine = nil
	return s.Close()
}

// prepare plans what the job will do, on the job's device or without one.
func (w *workshop) prepare(uses training.Uses) error {
	method, err := w.method()
	if err != nil {
		return err
	}
	adapters, err := w.lora()
	if err != nil {
		return err
	}
	w.net = training.NewNetwork(w.model, method, adapters)
	s, err := w.session()
	if err != nil {
		return err
	}
	engine, err := training.NewEngine(s, w.net, w.settings(), uses)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	w.engine = engine
	return nil
}

// ready prepares what the job will do and obtains and fills the memory for it.
func (w *workshop) ready(uses training.Uses) error {
	if err := w.prepare(uses); err != nil {
		return err
	}
	return w.allocate()
}

// method is what is trained, on a base stored as the settings say.
func (w *workshop) method() (training.Method, error) {
	c := w.job.Config
	method, err := training.MethodByName(c.Type().Method)
	if err != nil {
		return method, err
	}
	if method.Storage, err = w.storage().Format(); err != nil {
		return method, err
	}
	if w.source != nil {
		method = method.On(w.source, w.model.Specs())
	}
	if method.Expanded {
		err = w.model.Config.FindNewBlocks(w.job.ModelDir)
		method.Blocks = w.model.Config.NewBlocks
	}
	return method, err
}

// storage is how the frozen base is kept.
func (w *workshop) storage() training.Storage {
	c := w.job.Config
	return training.Storage{Name: c.Quantization, Bits: uint32(c.NBits), Group: uint32(c.HQQGroupSize), Interleaved: c.HQQAxis == 0, Nested: c.HQQQuantMeta}
}

// session opens the job's device; without one the session can only plan.
func (w *workshop) session() (*session.Session, error) {
	if !w.job.Device.Found() {
		return session.Dry(training.ParamsBytes), nil
	}
	device, err := w.device()
	if err != nil {
		return nil, err
	}
	return session.Open(device, training.ParamsBytes)
}

// device opens the job's device once more.
func (w *workshop) device() (*plugin.Device, error) {
	if w.backend == nil {
		var err error
		if w.backend, err = plugin.Open(w.job.Device.Candidate); err != nil {
			return nil, err
		}
	}
	c := w.job.Config
	options := plugin.DeviceOptions{Deterministic: c.Deterministic, MemoryLimit: uint64(c.MemoryLimit), Threads: uint32(c.Threads)}
	return w.backend.OpenDevice(w.job.Device.Device, options)
}

// contextBytes is what driver and libraries take of a device's own memory beside buffers.
const contextBytes = 1 << 30

// limit is how many bytes the run may take on the device; 0 = not known. A choice that
// must be the same again does not depend on what happens to be free.
func (w *workshop) limit() int64 {
	if w.unlimited {
		return 0
	}
	c := w.job.Config
	limit := int64(c.MemoryLimit)
	if !w.job.Device.Found() {
		return limit
	}
	info := w.job.Device.Info()
	has := int64(info.MemoryFree)
	if c.Deterministic {
		has = int64(info.MemoryTotal)
	}
	switch {
	case info.Class == abi.DeviceDiscrete:
		has -= contextBytes
	case info.Class == abi.DeviceCPU && c.HostMemoryLimit > 0:
		has = min(has, int64(c.HostMemoryLimit))
	}
	if limit == 0 || has < limit {
		limit = has
	}
	return limit
}

// hostLimit is the same of the host, of which a tenth stays for all else; 0 = not known.
func (w *workshop) hostLimit() int64 {
	if w.unlimited {
		return 0
	}
	c := w.job.Config
	total, has := hostMemory(os.DirFS("/"))
	if c.Deterministic {
		has = total
	}
	has -= has / 10
	if limit := int64(c.HostMemoryLimit); limit > 0 && (has == 0 || limit < has) {
		return limit
	}
	return has
}

// allocate judges the device, obtains the memory and fills it: weights, then the adapter to start from.
func (w *workshop) allocate() error {
	if err := w.selfTest(); err != nil {
		return err
	}
	if err := w.engine.Allocate(); err != nil {
		return err
	}
	dir := w.job.Config.InitAdapter
	if w.job.Adapter != "" {
		dir = w.job.Adapter
	}
	if dir == "" || w.job.Checkpoint != "" {
		return nil
	}
	return w.engine.LoadAdapter(dir)
}

// adoptAdapter takes ranks, scales, kind and modules of the adapter to be used, as it has them.
func (j *Job) adoptAdapter() error {
	if j.Adapter == "" {
		return nil
	}
	c := &j.Config
	if !c.Type().Adapters() {
		return &fault.Error{Kind: fault.Usage, Where: "--adapter", Found: "it with --train_type " + c.TrainType, Want: "a train type with adapters"}
	}
	a, err := peft.ReadAdapter(j.Adapter)
	if err != nil {
		return err
	}
	defer a.File.Close()
	c.TrainType = "lora"
	if a.Config.UseDoRA {
		c.TrainType = "dora"
	}
	j.adopted = &training.LoRA{Rank: int64(a.Config.R), Alpha: a.Config.Alpha, Targets: slices.Sorted(maps.Keys(a.Modules)),
		RankStable: a.Config.UseRSLoRA, RankPattern: a.Config.RankPattern, AlphaPattern: a.Config.AlphaPattern}
	return j.adopted.Check()
}
