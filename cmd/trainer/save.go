package main

import (
	"path/filepath"

	"trainer/files/atomicfile"
	"trainer/files/modeldir"
	"trainer/llama"
)

// companions are the files of a model folder that a fine-tuned model keeps as they are.
var companions = []string{"generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"}

// maxCompanion bounds the bytes of one of them.
const maxCompanion = 256 << 20

// save writes what was trained into the output folder.
func (w *workshop) save(events Events) error {
	c := w.job.Config
	if !c.SaveModel {
		return nil
	}
	if err := w.saveWeights(c.OutputDir); err != nil {
		return err
	}
	return events.Saved(c.OutputDir)
}

// saveWeights writes what is trained into a folder: an adapter as PEFT lays it out, or a
// whole model as Transformers does.
func (w *workshop) saveWeights(dir string) error {
	if w.net.Method.Adapters {
		return w.engine.SaveAdapter(dir, w.job.Config.ModelName)
	}
	if err := copyCompanions(w.job.ModelDir, dir); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, llama.ConfigName), w.model.Config.JSON(dtypeNames[w.job.Config.Precision])); err != nil {
		return err
	}
	return w.engine.SaveModel(dir)
}

// dtypeNames are the modes' weights as config.json names them.
var dtypeNames = map[string]string{"fp32": "float32", "bf16": "bfloat16", "bf16_autocast": "float32"}

// copyCompanions copies what stands beside config and weights of a model into a folder.
func copyCompanions(modelDir, dir string) error {
	from, err := modeldir.Open(modelDir)
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
	return nil
}
