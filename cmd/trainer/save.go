package main

import (
	"path/filepath"

	"trainer/core/abi"
	"trainer/files/atomicfile"
	"trainer/files/modeldir"
)

// companions are the files of a model folder that a fine-tuned model keeps as they are.
var companions = []string{"generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"}

// maxCompanion bounds the bytes of one of them.
const maxCompanion = 256 << 20

// save writes what was trained into the output folder: an adapter as PEFT lays it out, or
// a whole model as Transformers does.
func (w *workshop) save(events Events) error {
	c := w.job.Config
	if !c.SaveModel {
		return nil
	}
	if w.net.Method.Adapters {
		if err := w.engine.SaveAdapter(c.OutputDir, c.ModelName); err != nil {
			return err
		}
		return events.Saved(c.OutputDir)
	}
	if err := w.copyCompanions(c.OutputDir); err != nil {
		return err
	}
	if err := w.engine.SaveModel(c.OutputDir); err != nil {
		return err
	}
	return events.Saved(c.OutputDir)
}

// dtypeNames are the types of trained weights as config.json names them.
var dtypeNames = map[abi.DType]string{abi.F32: "float32", abi.BF16: "bfloat16"}

// copyCompanions writes what stands beside the weights of a model.
func (w *workshop) copyCompanions(dir string) error {
	from, err := modeldir.Open(w.job.ModelDir)
	if err != nil {
		return err
	}
	defer from.Close()
	for _, name := range companions {
		if !from.Exists(name) {
			continue
		}
		content, err := from.ReadFile(name, maxCompanion)
		if err != nil {
			return err
		}
		if err := atomicfile.WriteFile(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return atomicfile.WriteFile(filepath.Join(dir, "config.json"), w.model.Config.JSON(dtypeNames[w.engine.Settings.Precision.Trainable]))
}
