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
			"(model_state_dict.safetensors: lora, qlora, custom_lora, custom_qlora, hqq_lora, bnb_dora, hqq_dora),\n" +
			"or of a merged model and its base. The other way is trainer merge.",
		Example: "  trainer convert --adapter output/model_state_dict.safetensors --lora_alpha 16 --model_name DIR --output_dir OUT\n" +
			"  trainer convert --merged MERGED --model_name DIR --lora_rank 16 --use_dora --output_dir OUT"}
	settings := addSettings(cmd, inGroups(nil, "model_name", "lora_rank"))
	var v conversion
	cmd.Flags().StringVar(&v.adapter, "adapter", "", "`PATH` of an adapter folder or of a state dict")
	cmd.Flags().StringVar(&v.merged, "merged", "", "instead: folder `DIR` of a model into which an adapter was merged")
	cmd.Flags().BoolVar(&v.dora, "use_dora", false, "find a DoRA adapter in --merged, else a LoRA one; of rank lora_rank either way")
	v.out = addOutput(cmd, "for the adapter")
	v.alpha, v.dropout = addStateDictFlags(cmd)
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := settings.config(nil)
		if err != nil {
			return err
		}
		if err := v.check(s); err != nil {
			return err
		}
		return interruptible(func(ctx context.Context) error {
			if v.merged != "" {
				return c.extract(ctx, s, v, *asJSON)
			}
			return c.convert(s, v, *asJSON)
		})
	}
	return cmd
}

// conversion is what convert is asked.
type conversion struct {
	adapter        string
	merged         string
	dora           bool
	alpha, dropout *float64
	out            *output
}

// addStateDictFlags gives a command the flags of what a state dict does not hold.
func addStateDictFlags(cmd *cobra.Command) (alpha, dropout *float64) {
	d := config.Default()
	alpha = cmd.Flags().Float64("lora_alpha", d.LoraAlpha, "alpha `X` that a state dict of LoRA was trained with, which it does not hold")
	return alpha, cmd.Flags().Float64("lora_dropout", d.LoraDropout, "dropout `P` likewise")
}

// check refuses what can be refused at once.
func (v *conversion) check(s config.Config) error {
	switch {
	case v.adapter == "" && v.merged == "":
		return fault.New(fault.Usage, "--adapter is missing: name an adapter folder or a state dict, or a model with --merged")
	case v.adapter != "" && v.merged != "":
		return fault.New(fault.Usage, "found both --adapter and --merged, expected one of them")
	case v.merged != "" && s.ModelName == "":
		return fault.New(fault.Usage, "--model_name is missing: name the base of the merged model")
	case v.dora && v.merged == "":
		return &fault.Error{Kind: fault.Usage, Where: "--use_dora", Found: "it without --merged", Want: "a merged model to find the adapter in"}
	}
	return v.out.given()
}

// extract finds the adapter that a merged model holds.
func (c *console) extract(ctx context.Context, s config.Config, v conversion, asJSON bool) error {
	base, err := openBase(s.ModelName)
	if err != nil {
		return err
	}
	defer base.Close()
	merged, err := openBase(v.merged)
	if err != nil {
		return err
	}
	defer merged.Close()
	if err := v.out.prepare(base.Dir, merged.Dir); err != nil {
		return err
	}
	e, err := surgery.Extract(ctx, base, merged, s.LoraRank, v.dora, s.ModelName, v.out.dir)
	if err != nil {
		return err
	}
	c.note("%d modules of rank %d, which make all but %.2g of what was merged", e.Modules, s.LoraRank, e.Miss)
	if e.Left > 0 {
		c.note("%d other tensors differ from the base too: adapters of projections do not hold them", e.Left)
	}
	if asJSON {
		return c.json(map[string]any{"output_dir": v.out.dir, "modules": e.Modules, "other_tensors": e.Left, "r": s.LoraRank, "use_dora": v.dora, "missed_share": e.Miss})
	}
	c.result("%s", v.out.dir)
	return nil
}

// convert writes the adapter as PEFT does.
func (c *console) convert(s config.Config, v conversion, asJSON bool) error {
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
