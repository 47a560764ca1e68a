package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"trainer/fault"
	"trainer/files/atomicfile"
	"trainer/files/modeldir"
	"trainer/llama/surgery"
)

// interruptible does work in this process until a signal comes: the first gives the work
// up, which leaves nothing behind, the second ends it at once.
func interruptible(do func(context.Context) error) error {
	signals := listenForSignals()
	defer signals.close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- guard(func() error { return do(ctx) }) }()
	var first *stopped
	for {
		select {
		case err := <-done:
			if first != nil && errors.Is(err, context.Canceled) {
				return first
			}
			return err
		case s := <-signals.c:
			if first != nil {
				return &stopped{s, fmt.Sprintf("ended at once by a second signal, %s", signalName(s))}
			}
			first = &stopped{s, fmt.Sprintf("ended by %s; nothing was written", signalName(s))}
			cancel()
		}
	}
}

// openBase finds and opens the model that a person named.
func openBase(name string) (*surgery.Base, error) {
	if err := required(map[string]string{"model_name": name}, "model_name"); err != nil {
		return nil, err
	}
	dir, err := modelFolder(name)
	if err != nil {
		return nil, err
	}
	return surgery.OpenBase(dir)
}

// output is where a result goes.
type output struct {
	dir       string
	overwrite bool
}

// addOutput gives a command the flags of its output folder.
func addOutput(cmd *cobra.Command, what string) *output {
	var o output
	cmd.Flags().StringVar(&o.dir, "output_dir", "", "`DIR`, "+what)
	cmd.Flags().BoolVar(&o.overwrite, "overwrite_output_dir", false, "write over what is in the folder")
	return &o
}

// given refuses an output folder that was not named.
func (o output) given() error {
	if o.dir == "" {
		return fault.New(fault.Usage, "--output_dir is missing: name a folder for the result")
	}
	return nil
}

// prepare makes the folder, which may be none of those the result is made of.
func (o output) prepare(sources ...string) error {
	if err := o.given(); err != nil {
		return err
	}
	if target, err := os.Stat(o.dir); err == nil {
		for _, source := range sources {
			if from, err := os.Stat(source); err == nil && os.SameFile(target, from) {
				return &fault.Error{Kind: fault.Usage, Where: "--output_dir " + o.dir, Found: "a folder that is read", Want: "another one"}
			}
		}
	}
	return atomicfile.PrepareOutput(o.dir, o.overwrite)
}

// companions are the files of a model folder that a fine-tuned model keeps as they are.
var companions = []string{"generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"}

// maxCompanion bounds the bytes of one of them.
const maxCompanion = 256 << 20

// writeCompanions writes what stands beside the weights of a model, its config included.
func writeCompanions(from, to string, config []byte) error {
	if err := copyCompanions(from, to); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(to, "config.json"), config)
}

// copyCompanions copies what stands beside config and weights of a model.
func copyCompanions(from, to string) error {
	source, err := modeldir.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	for _, name := range companions {
		if !source.Exists(name) {
			continue
		}
		content, err := source.ReadFile(name, maxCompanion)
		if err != nil {
			return err
		}
		if err := atomicfile.WriteFile(filepath.Join(to, name), content); err != nil {
			return err
		}
	}
	return nil
}
