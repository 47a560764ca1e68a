package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"trainer/files/atomicfile"
	"trainer/training/config"
	"trainer/training/data"
)

// demoFiles are the embedded model and its data; see demo/README.md.
//
//go:embed demo
var demoFiles embed.FS

// demoAnswered is the record of eval.jsonl whose answer is shown.
const demoAnswered = 0

// demoSettings are what the demo trains with: a LoRA that learns visibly in half a minute.
func demoSettings(c *config.Config) {
	lr := 3e-3
	c.OutputDir = "trainer-demo"
	c.TrainType, c.LoraRank, c.LoraAlpha, c.LoraDropout = "lora", 16, 16, 0
	c.LR, c.LRScheduler = &lr, "cosine"
	c.BatchSize, c.ContextLength, c.NumEpochs = 8, 256, 2
}

// newDemo makes `trainer demo`.
func newDemo(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "demo [flags]", Short: "fine-tune an embedded small model on embedded records, in about a minute", Args: noArguments}
	settings := addSettings(cmd, inGroups([]config.Group{config.Device}, "output_dir", "train_type", "precision", "lr", "batch_size", "num_epochs", "max_steps"))
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := settings.config(demoSettings)
		if err != nil {
			return err
		}
		return demo(c, s, *asJSON)
	}
	return cmd
}

// demo unpacks the model and the data, trains, and shows an answer before and after.
func demo(c *console, s config.Config, asJSON bool) error {
	dir := s.OutputDir
	if err := unpackDemo(dir); err != nil {
		return err
	}
	s.ModelName, s.Dataset, s.EvalDataset = filepath.Join(dir, "model"), filepath.Join(dir, "train.jsonl"), filepath.Join(dir, "eval.jsonl")
	s.OutputDir, s.OverwriteOutputDir = filepath.Join(dir, s.TrainType), true
	job, err := prepareTraining(c, s)
	if err != nil {
		return err
	}
	question, prompt, want, err := demoQuestion()
	if err != nil {
		return err
	}
	job.Prompts, job.MaxNewTokens = []Prompt{{Text: prompt, Framed: true}}, 96
	view := &trainingView{console: c, asJSON: asJSON, curve: true}
	view.atEnd = func() { c.demoAnswers(view.answers, question, want) }
	return train(c, job, view)
}

// demoAnswers shows what the model wrote before and after training.
func (c *console) demoAnswers(answers []Answer, question, want string) {
	bold := coloured(c.err)
	c.note("%s  %s", paint(bold, "1", "question"), question)
	for _, a := range answers {
		when := "before  "
		if a.Step > 0 {
			when = "after   "
		}
		c.note("%s  %s", paint(bold, "1", when), oneLine(a.Text))
	}
	c.note("%s  %s\n", paint(bold, "1", "expected"), oneLine(want))
}

// oneLine writes an answer without line ends.
func oneLine(text string) string {
	return strings.Join(strings.Fields(printable(text)), " ")
}

// demoQuestion is the record shown: the question, the prompt it becomes, and its answer.
func demoQuestion() (question, prompt, want string, err error) {
	text, err := demoFiles.ReadFile("demo/eval.jsonl")
	if err != nil {
		return "", "", "", err
	}
	var record map[string]any
	if err := json.Unmarshal(bytes.Split(text, []byte("\n"))[demoAnswered], &record); err != nil {
		return "", "", "", err
	}
	prompt, want, err = data.Alpaca(data.Record{Fields: record})
	return fmt.Sprint(record["instruction"]), prompt, want, err
}

// unpackDemo writes the embedded files into dir. A folder with anything else in it is
// refused unless an earlier demo made it.
func unpackDemo(dir string) error {
	shape, err := demoFiles.ReadFile("demo/model/config.json")
	if err != nil {
		return err
	}
	old, _ := os.ReadFile(filepath.Join(dir, "model", "config.json"))
	if err := atomicfile.PrepareOutput(dir, bytes.Equal(old, shape)); err != nil {
		return err
	}
	return fs.WalkDir(demoFiles, "demo", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(name, "demo")))
		if entry.IsDir() {
			return atomicfile.Error(target, os.MkdirAll(target, 0o777))
		}
		content, err := demoFiles.ReadFile(name)
		if err != nil {
			return err
		}
		return atomicfile.WriteFile(target, content)
	})
}
