package main

import "trainer/core/abi"

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
	if w.net.Method.Adapters() {
		return w.engine.SaveAdapter(dir, w.job.Config.ModelName)
	}
	config := w.model.Config.JSON(dtypeNames[w.engine.Settings.Precision.Trainable])
	if err := writeCompanions(w.job.ModelDir, dir, config); err != nil {
		return err
	}
	return w.engine.SaveModel(dir)
}

// dtypeNames are the types of trained weights as config.json names them.
var dtypeNames = map[abi.DType]string{abi.F32: "float32", abi.BF16: "bfloat16"}
