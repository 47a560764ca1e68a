package main

import (
	"context"

	"github.com/spf13/cobra"

	"trainer/fault"
	"trainer/llama/surgery"
	"trainer/training/config"
)

// newConvert makes `trainer convert`.
func newConvert(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "convert --adapter PATH --output_dir OUT [flags]", Short: "make a PEFT adapter of what other programs saved", Args: noArguments,
		Long: "Makes a PEFT adapter of an adapter of PEFT or mlx_lm, or of a state dict of fsdp_qlora\n" +
			"(model_state_dict.safetensors: lora, qlora, custom_lora, custom_qlora, hqq_lora, bnb_dora, hqq_dora).",
		Example: "  trainer convert --adapter output/model_state_dict.safetensors --lora_alpha 16 --model_name DIR --output_dir OUT"}
	settings := addSettings(cmd, inGroups(nil, "model_name"))
	var v conversion
	cmd.Flags().StringVar(&v.adapter, "adapter", "", "`PATH` of an adapter folder or of a state dict")
	v.out = addOutput(cmd, "for the adapter")
	v.alpha, v.dropout = addStateDictFlags(cmd)
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := settings.config(nil)
		if err != nil {
			return err
		}
		return interruptible(func(context.Context) error { return c.convert(s, v, *asJSON) })
	}
	return cmd
}

// conversion is what convert is asked.
type conversion struct {
	adapter        string
	alpha, dropout *float64
	out            *output
}

// addStateDictFlags gives a command the flags of what a state dict does not hold.
func addStateDictFlags(cmd *cobra.Command) (alpha, dropout *float64) {
	d := config.Default()
	alpha = cmd.Flags().Float64("lora_alpha", d.LoraAlpha, "alpha `X` that a state dict of LoRA was trained with, which it does not hold")
	return alpha, cmd.Flags().Float64("lora_dropout", d.LoraDropout, "dropout `P` likewise")
}

// convert writes the adapter as PEFT does.
func (c *console) convert(s config.Config, v conversion, asJSON bool) error {
	if v.adapter == "" {
		return fault.New(fault.Usage, "--adapter is missing: name an adapter folder or a state dict")
	}
	if err := v.out.given(); err != nil {
		return err
	}
	i, err := surgery.OpenImport(v.adapter, *v.alpha, *v.dropout)
	if err != nil {
		return err
	}
	defer i.Close()
	if s.ModelName != "" {
		base, err := openBase(s.ModelName)
		if err != nil {
			return err
		}
		defer base.Close()
		if err := i.Fits(base); err != nil {
			return err
		}
		i.Config.BaseModel = s.ModelName
	}
	if err := v.out.prepare(v.adapter); err != nil {
		return err
	}
	if err := i.Write(v.out.dir); err != nil {
		return err
	}
	c.note("%s: %d modules of rank %d, alpha %g; %d other tensors left out", i.Format, i.Modules(), i.Config.R, i.Config.Alpha, i.Ignored)
	if asJSON {
		return c.json(map[string]any{"output_dir": v.out.dir, "modules": i.Modules(), "ignored_tensors": i.Ignored, "r": i.Config.R, "lora_alpha": i.Config.Alpha, "use_dora": i.Config.UseDoRA})
	}
	c.result("%s", v.out.dir)
	return nil
}
