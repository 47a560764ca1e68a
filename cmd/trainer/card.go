package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"trainer/files/atomicfile"
	"trainer/training/config"
	"trainer/training/metrics"
)

// cardFile is the model card of the output folder.
const cardFile = "README.md"

// card is what a model card tells.
type card struct {
	settings config.Config
	start    Start
	end      metrics.End
	history  metrics.History
}

// write lays down the card, in the form the Hub reads: metadata, then Markdown.
func (c card) write(dir string) error {
	return atomicfile.WriteFile(filepath.Join(dir, cardFile), []byte(c.text()))
}

func (c card) text() string {
	s := c.settings
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("---\nbase_model: %s", yamlText(s.ModelName))
	library := "transformers"
	if s.Type().Adapters() {
		library = "peft"
	}
	line("library_name: %s\ntags:\n- %s\n---\n", library, s.TrainType)
	line("# %s, fine-tuned\n", markdown(filepath.Base(s.ModelName)))
	line("%s of %s on %s with `trainer`: %s of %s parameters trained in %d steps, %s precision.\n", kindOf(s.Type()), markdown(s.ModelName), markdown(s.Dataset),
		grouped(c.start.TrainableParameters), grouped(c.start.Parameters), c.end.Steps, s.Precision)
	line("| | |\n|---|---|")
	for _, row := range c.rows() {
		line("| %s | %s |", row[0], row[1])
	}
	line("\nEvery setting stands in `%s`, every step in `%s`. To load it:\n\n```python", settingsFile, metricsFile)
	if library == "peft" {
		line("from transformers import AutoModelForCausalLM\nfrom peft import PeftModel\nmodel = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(%q), \"THIS_FOLDER\")", s.ModelName)
	} else {
		line("from transformers import AutoModelForCausalLM\nmodel = AutoModelForCausalLM.from_pretrained(\"THIS_FOLDER\")")
	}
	line("```")
	return b.String()
}

// rows are the settings and results of most interest.
func (c card) rows() [][2]string {
	s := c.settings
	rows := [][2]string{{"train type", s.TrainType}}
	if s.Quantization != "none" {
		rows = append(rows, [2]string{"base while training", s.Quantization})
	}
	if s.Type().Adapters() {
		rows = append(rows, [2]string{"adapters", adapterText(s)})
	}
	rows = append(rows, [2]string{"batch", fmt.Sprintf("%d × %d, at most %d tokens a row", s.BatchSize, s.GradientAccumulationSteps, s.ContextLength)},
		[2]string{"optimizer", fmt.Sprintf("%s, learning rate %g (%s), weight decay %g", s.Optimizer, *s.LR, s.LRScheduler, *s.WeightDecay)},
		[2]string{"training loss", fmt.Sprintf("%.4f", float64(c.end.Loss))})
	if n := len(c.history.Eval); n > 0 {
		rows = append(rows, [2]string{"evaluation loss", fmt.Sprintf("%.4f before, %.4f after", c.history.Eval[0].Loss, c.history.Eval[n-1].Loss)})
	}
	return rows
}

// adapterText is the shape of the adapters.
func adapterText(s config.Config) string {
	text := fmt.Sprintf("rank %d, alpha %g, dropout %g, on %s", s.LoraRank, s.LoraAlpha, s.LoraDropout, strings.Join(s.Targets(), ", "))
	if s.UseRSLoRA {
		text += "; scaled by alpha / sqrt(rank)"
	}
	for _, p := range [][2]string{{"ranks", s.RankPattern}, {"alphas", s.AlphaPattern}} {
		if p[1] != "" {
			text += fmt.Sprintf("; other %s: %s", p[0], markdown(p[1]))
		}
	}
	return text
}

func kindOf(t config.TrainType) string {
	switch {
	case t.DoRA():
		return "A DoRA adapter"
	case t.Adapters():
		return "A LoRA adapter"
	case t.Expanded():
		return "New blocks, trained alone,"
	}
	return "A full fine-tuning"
}

// markdown keeps a path from being read as markup.
func markdown(path string) string { return "`" + strings.ReplaceAll(oneLine(path), "`", "'") + "`" }

// yamlText quotes a text for the metadata.
func yamlText(text string) string { return "'" + strings.ReplaceAll(oneLine(text), "'", "''") + "'" }
