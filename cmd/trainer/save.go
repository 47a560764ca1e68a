package main

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
	config := w.model.Config.JSON(dtypeNames[c.Precision])
	if err := copyCompanions(w.job.ModelDir, c.OutputDir, config); err != nil {
		return err
	}
	if err := w.engine.SaveModel(c.OutputDir); err != nil {
		return err
	}
	return events.Saved(c.OutputDir)
}

// dtypeNames are the modes' weights as config.json names them.
var dtypeNames = map[string]string{"fp32": "float32", "bf16": "bfloat16", "bf16_autocast": "float32"}
