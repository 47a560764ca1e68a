package main

import (
	"errors"
	"os"

	"trainer/core/abi"
	"trainer/fault"
	"trainer/files/peft"
	"trainer/files/safetensors"
	"trainer/llama/surgery"
	"trainer/training"
)

// foldsAdapter tells whether a job's adapter is of a kind that the engine does not compute
// as it is, on a base whose rows can be scaled while they load.
func (j Job) foldsAdapter() (bool, error) {
	if j.Adapter == "" || j.Config.TrainType != "lora" {
		return false, nil
	}
	c, err := peft.ReadConfig(j.Adapter)
	return c.UseDoRA || c.UseRSLoRA || len(c.RankPattern)+len(c.AlphaPattern) > 0, err
}

// foldAdapter writes a job's adapter, of any kind, as plain LoRA into a temporary folder,
// and returns what the rows of the base's tensors are to be multiplied by for DoRA.
func foldAdapter(job Job) (dir string, rows map[string][]float32, err error) {
	base, err := surgery.OpenBase(job.ModelDir)
	if err != nil {
		return "", nil, err
	}
	defer base.Close()
	adapter, err := surgery.OpenAdapter(job.Adapter)
	if err != nil {
		return "", nil, err
	}
	defer adapter.Close()
	merged, err := surgery.NewMerged(base, adapter)
	if err != nil {
		return "", nil, err
	}
	rows = map[string][]float32{}
	for _, module := range adapter.Modules() {
		factors, err := merged.RowFactors(module + ".weight")
		if err != nil {
			return "", nil, err
		}
		if factors != nil {
			rows[module+".weight"] = factors
		}
	}
	if dir, err = os.MkdirTemp("", "trainer-adapter-"); err != nil {
		return "", nil, fault.New(fault.Disk, "make a temporary folder: %w", err)
	}
	if err := merged.WritePlain(dir); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, rows, nil
}

// rowScaled reads a model's weights with factors on the rows of some tensors.
type rowScaled struct {
	training.Source
	folder *safetensors.Folder
	rows   map[string][]float32 // by tensor
}

// DType implements training.Source.
func (s rowScaled) DType(name string) abi.DType {
	if s.rows[name] != nil {
		return abi.F32
	}
	return s.Source.DType(name)
}

// ReadAt implements training.Source.
func (s rowScaled) ReadAt(name string, dst []byte, offset int64) error {
	factors := s.rows[name]
	if factors == nil {
		return s.Source.ReadAt(name, dst, offset)
	}
	info, _ := s.folder.Tensor(name)
	size, _ := safetensors.DTypeSize(info.DType)
	values, first := make([]float32, len(dst)/4), offset/4
	raw := make([]byte, int64(len(values))*size)
	if err := s.folder.Read(info, raw, first*size); err != nil {
		return err
	}
	safetensors.DecodeFloats(values, raw, info.DType)
	for i := range values {
		values[i] *= factors[(first+int64(i))/info.Shape[1]]
	}
	safetensors.AppendFloats(dst[:0], values, "F32")
	return nil
}
