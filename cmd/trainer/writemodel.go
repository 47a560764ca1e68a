package main

import (
	"errors"
	"path/filepath"
	"time"

	"trainer/fault"
	"trainer/files/atomicfile"
	"trainer/llama"
	"trainer/llama/tokenizer"
	"trainer/training"
	"trainer/training/config"
)

// modelToWrite is a model folder to be made up.
type modelToWrite struct {
	dir       string
	tokenizer string // folder to take the tokenizer's files from, or empty
}

// writeModel writes a model folder of random weights of the shape in c, and its path.
func (c *console) writeModel(m modelToWrite, settings config.Config) error {
	if err := required(map[string]string{"shape": settings.Shape}, "shape"); err != nil {
		return err
	}
	if err := checkShape(settings.Shape); err != nil {
		return err
	}
	shape, _ := llama.ShapeByName(settings.Shape)
	began := time.Now()
	bytes, err := m.write(shape, settings.Seed)
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	c.note("%s of weights in %s, %s", gib(bytes), duration(seconds), perSecond(float64(bytes)/seconds, "B"))
	c.result("%s", m.dir)
	return nil
}

// prepare makes the folder, which must be empty.
func (m modelToWrite) prepare() error {
	err := atomicfile.PrepareOutput(m.dir, false)
	var refused *fault.Error
	if errors.As(err, &refused) && refused.Kind == fault.Usage {
		return &fault.Error{Kind: fault.Usage, Where: "--write_model " + m.dir, Found: refused.Found, Want: refused.Want, Remedy: "name another folder"}
	}
	return err
}

// write leaves config, tokenizer and, last, weights of so many bytes.
func (m modelToWrite) write(shape llama.Config, seed uint64) (bytes int64, err error) {
	if m.tokenizer != "" {
		if _, err := tokenizer.Load(m.tokenizer); err != nil {
			return 0, err
		}
	}
	if err := m.prepare(); err != nil {
		return 0, err
	}
	if m.tokenizer != "" {
		if err := copyCompanions(m.tokenizer, m.dir); err != nil {
			return 0, err
		}
	}
	if err := atomicfile.WriteFile(filepath.Join(m.dir, llama.ConfigName), shape.JSON("bfloat16")); err != nil {
		return 0, err
	}
	return training.WriteRandom(m.dir, llama.Model{Config: shape}, seed)
}
