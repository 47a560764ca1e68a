package training

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/fault"
	"trainer/files/safetensors"
	"trainer/training/checkpoint"
)

// Files of a checkpoint.
const (
	statesFile = "optimizer.safetensors" // what lies on the device between two steps besides the trained weights
	blocksFile = "blocks.safetensors"    // the trained blocks of an expanded model
)

// betweenSteps lists it: the optimizer's moments, and what decides about steps. Gradients
// are none of it, since accumulators are zero then.
func (e *Engine) betweenSteps() []*op.Value {
	var states []*op.Value
	for _, t := range e.Net.Trained {
		states = append(states, t.Moments...)
	}
	return append(states, guardedValues(e.guarded)...)
}

// stateSpec is a state as statesFile has it.
func stateSpec(v *op.Value) safetensors.Spec {
	dtype := storedNames[v.DType]
	switch v.DType {
	case abi.I32:
		dtype = "I32"
	case abi.U8:
		dtype = "U8"
	}
	return safetensors.Spec{Name: v.Name, DType: dtype, Shape: v.Shape}
}

// SaveStates writes what Restore needs besides the trained weights into a folder, durably.
func (e *Engine) SaveStates(dir string) error {
	return e.writeStates(filepath.Join(dir, statesFile), e.betweenSteps())
}

// SaveBlocks writes the trained blocks of an expanded model into a folder, durably, and nothing of
// its other weights.
func (e *Engine) SaveBlocks(dir string) error {
	return e.writeStates(filepath.Join(dir, blocksFile), e.trainedValues())
}

func (e *Engine) trainedValues() (values []*op.Value) {
	for _, t := range e.Net.Trained {
		values = append(values, t.Value)
	}
	return values
}

func (e *Engine) writeStates(path string, states []*op.Value) error {
	var specs []safetensors.Spec
	for _, v := range states {
		specs = append(specs, stateSpec(v))
	}
	w, err := safetensors.Create(path, specs, nil)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, v := range states {
		raw, err := e.Session.Read(v)
		if err != nil {
			return err
		}
		if err := w.Write(v.Name, raw); err != nil {
			return err
		}
	}
	return w.Commit()
}

// Restore fills everything that training changes from a folder to which SaveStates was written,
// and what the method trains: the adapter, the blocks or the model. Errors are *fault.Error.
func (e *Engine) Restore(dir string) error {
	if err := e.restoreTrained(dir); err != nil {
		return err
	}
	if err := e.readStates(filepath.Join(dir, statesFile), e.betweenSteps()); err != nil {
		return err
	}
	return e.Session.Sync()
}

func (e *Engine) restoreTrained(dir string) error {
	switch m := e.Net.Method; {
	case m.Adapters():
		return e.LoadAdapter(dir)
	case m.Expanded:
		return e.readStates(filepath.Join(dir, blocksFile), e.trainedValues())
	}
	return e.loadModel(dir)
}

func (e *Engine) readStates(path string, states []*op.Value) error {
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, v := range states {
		info, _ := f.Tensor(v.Name)
		if want := stateSpec(v); info.DType != want.DType || !slices.Equal(info.Shape, want.Shape) {
			return misfit(path, info, want)
		}
		err := e.Session.Fill(nil, v, func(dst []byte, from int64) error { return f.Read(info, dst, from) })
		if err != nil {
			return err
		}
	}
	return nil
}

// loadModel fills every trained weight from a model folder.
func (e *Engine) loadModel(dir string) error {
	folder, err := safetensors.OpenFolder(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	for _, t := range e.Net.Trained {
		info, _ := folder.Tensor(t.Name)
		if want := stateSpec(t.Value); info.DType != want.DType || !slices.Equal(info.Shape, want.Shape) {
			return misfit(dir, info, want)
		}
		if err := e.copy(NewSource(folder), t.Name, nil, t.Value); err != nil {
			return err
		}
	}
	return e.Session.Sync()
}

func misfit(path string, found safetensors.Info, want safetensors.Spec) error {
	e := &fault.Error{Kind: fault.Files, Where: path, Field: fmt.Sprintf("tensor %q", want.Name), Found: "no such tensor",
		Want: fmt.Sprintf("%s %v", want.DType, want.Shape), Remedy: "take a checkpoint of this run"}
	if found.Name != "" {
		e.Found = fmt.Sprintf("%s %v", found.DType, found.Shape)
	}
	return e
}

// sampledBytes is how much of each tensor tells one model from another of its shape.
const sampledBytes = 1 << 10

// Identity tells this run from others: by its rows, and by the beginning of every base
// tensor, which any fine-tuning changes.
func (e *Engine) Identity(l Loop) (id checkpoint.Identity, err error) {
	id.Rows, id.Count = l.Train.Digest(), len(l.Train.Examples)
	for _, x := range l.Train.Examples {
		id.Tokens += len(x.IDs)
	}
	if e.uses.Source == nil {
		return id, nil
	}
	hash, block := sha256.New(), make([]byte, sampledBytes)
	for _, spec := range e.Net.Model.Specs() {
		dtype, stored := e.uses.Source.DType(spec.Name), e.uses.Source.Format(spec.Name)
		part := block[:min(sampledBytes, spec.Count()*int64(dtype.Size()))]
		if stored.Format != abi.FormatDense {
			part = block[:min(sampledBytes, spec.Count()*int64(stored.Bits)/8)]
			fmt.Fprintln(hash, stored)
		}
		if err := e.uses.Source.ReadAt(spec.Name, part, 0); err != nil {
			return id, err
		}
		fmt.Fprintln(hash, spec.Name, dtype, spec.Shape)
		hash.Write(part)
	}
	id.Base = hex.EncodeToString(hash.Sum(nil))
	return id, nil
}

// GoesOn tells whether a loop may go on from where it says: the same base weights, the same
// rows, and no further than its end. Errors are *fault.Error of kind Usage.
func (e *Engine) GoesOn(l Loop) error {
	id, err := e.Identity(l)
	if err != nil {
		return err
	}
	was, steps := l.From.Identity, l.Steps(int(e.Settings.Batch), e.Settings.Accumulation)
	f := &fault.Error{Kind: fault.Usage, Remedy: "give what the run began with, or start afresh with another --output_dir"}
	switch {
	case was.Base != id.Base:
		f.Where, f.Found, f.Want = "--model_name", "other base weights", "those that the checkpoint was trained on"
	case was.Count != id.Count || was.Tokens != id.Tokens:
		f.Where, f.Found = "--dataset", fmt.Sprintf("%d rows of %d tokens", id.Count, id.Tokens)
		f.Want = fmt.Sprintf("%d rows of %d, as the checkpoint has it", was.Count, was.Tokens)
	case was.Rows != id.Rows:
		f.Where, f.Found, f.Want = "--dataset", "other rows", "those that the checkpoint was trained on"
	case l.From.Step > steps:
		f.Where, f.Found = "--max_steps, --num_epochs", fmt.Sprintf("a run of %d steps", steps)
		f.Want = fmt.Sprintf("at least %d, which the checkpoint has done", l.From.Step)
	default:
		return nil
	}
	return f
}
