package main

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"trainer/llama"
	"trainer/llama/surgery"
)

// newExpand makes `trainer expand`.
func newExpand(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "expand --model_name DIR --output_dir PARENT [flags]", Short: "grow a model by blocks that change nothing yet, to train them alone (LLaMA Pro)", Args: noArguments,
		Example: "  trainer expand --model_name models/Llama-2-7b-hf --expansion_rate 0.1 --output_dir models\n  # writes models/Llama-2-7b-hf_blk_exp-32-35"}
	settings := addSettings(cmd, inGroups(nil, "model_name"))
	out := addOutput(cmd, "in which the result's folder is made, named by the numbers of layers")
	rate := cmd.Flags().Float64("expansion_rate", 0.1, "`X` new layers for each that is there")
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := settings.config(nil)
		if err != nil {
			return err
		}
		return interruptible(func(ctx context.Context) error { return c.expand(ctx, s.ModelName, *out, *rate, *asJSON) })
	}
	return cmd
}

// expand writes the grown model into a folder of its own.
func (c *console) expand(ctx context.Context, model string, out output, rate float64, asJSON bool) error {
	if err := out.given(); err != nil {
		return err
	}
	base, err := openBase(model)
	if err != nil {
		return err
	}
	defer base.Close()
	e, err := llama.NewExpansion(base.Config.NumLayers, rate)
	if err != nil {
		return err
	}
	out.dir = filepath.Join(out.dir, e.Name(baseName(model)))
	if err := out.prepare(base.Dir); err != nil {
		return err
	}
	if err := surgery.Expand(ctx, base, e, out.dir); err != nil {
		return err
	}
	if err := writeCompanions(base.Dir, out.dir, base.Config.Expand(e)); err != nil {
		return err
	}
	c.note("%d layers, of which these are new: %v", e.New, e.NewBlocks())
	if asJSON {
		return c.json(map[string]any{"output_dir": out.dir, "num_hidden_layers": e.New, "new_blocks": e.NewBlocks()})
	}
	c.result("%s", out.dir)
	return nil
}

// baseName is the last part of a model's name, or of the path of its folder.
func baseName(model string) string {
	if path, err := filepath.Abs(model); err == nil {
		model = path
	}
	return filepath.Base(model)
}
