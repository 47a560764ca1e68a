package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trainer/fault"
	"trainer/llama/surgery"
	"trainer/training/config"
)

// newMerge makes `trainer merge`.
func newMerge(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "merge --model_name DIR --adapter DIR --output_dir OUT [flags]", Short: "fold an adapter into the weights of its base model", Args: noArguments,
		Long: "Folds a LoRA or DoRA adapter into the 16- or 32-bit weights of its base model, tensor by tensor.\n" +
			"An adapter that was trained on a quantised base is merged into the original weights.",
		Example: "  trainer merge --model_name DIR --adapter OUT --output_dir MERGED --verify"}
	settings := addSettings(cmd, inGroups([]config.Group{config.Device}, "model_name", "precision", "memory_limit", "host_memory_limit"))
	var m merging
	m.out = addOutput(cmd, "for the merged model")
	cmd.Flags().StringVar(&m.adapter, "adapter", "", "PEFT folder `DIR`")
	m.dtype = addDType(cmd)
	cmd.Flags().BoolVar(&m.verify, "verify", false, "compare the logits of base and adapter with those of the merged model, on a backend")
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := settings.config(func(c *config.Config) { c.TrainType, c.Precision = "lora", "fp32" })
		if err != nil {
			return err
		}
		return c.merge(s, m, *asJSON)
	}
	return cmd
}

// merging is what merge is asked.
type merging struct {
	adapter string
	dtype   *string
	out     *output
	verify  bool
}

// addDType gives a command the flag of what weights are stored in.
func addDType(cmd *cobra.Command) *string {
	dtype := cmd.Flags().String("dtype", "auto", "store weights as `NAME`: "+strings.Join(surgery.DTypes, ", ")+"; auto: each tensor as it is")
	_ = cmd.RegisterFlagCompletionFunc("dtype", cobra.FixedCompletions(append([]string{"auto"}, surgery.DTypes...), cobra.ShellCompDirectiveNoFileComp)) // fails only for unknown flags
	return dtype
}

// check refuses what can be refused at once.
func (m *merging) check(s config.Config) error {
	if err := required(map[string]string{"model_name": s.ModelName}, "model_name"); err != nil {
		return err
	}
	if m.adapter == "" {
		return fault.New(fault.Usage, "--adapter is missing: name a PEFT adapter folder")
	}
	if *m.dtype != "auto" && !slices.Contains(surgery.DTypes, *m.dtype) {
		return &fault.Error{Kind: fault.Usage, Where: "--dtype", Found: fmt.Sprintf("%.40q", *m.dtype), Want: "auto, " + strings.Join(surgery.DTypes, ", ")}
	}
	if err := m.out.given(); err != nil {
		return err
	}
	return checkAdapter("--adapter", m.adapter)
}

// merge writes the merged model and, where asked, holds it against base and adapter.
func (c *console) merge(s config.Config, m merging, asJSON bool) error {
	if err := m.check(s); err != nil {
		return err
	}
	job := Job{Command: "verify", Config: s, Adapter: m.adapter, Merged: m.out.dir}
	if m.verify {
		var err error
		if job.Device, err = chooseDevice(&job.Config); err != nil {
			return err
		}
	}
	modules := 0
	err := interruptible(func(ctx context.Context) (err error) {
		modules, err = m.write(ctx, s.ModelName)
		return err
	})
	if err != nil {
		return err
	}
	c.note("%d modules merged", modules)
	var verified *VerifyReport
	if m.verify {
		if verified, err = c.verify(job); err != nil {
			return err
		}
	}
	if asJSON {
		return c.json(map[string]any{"output_dir": m.out.dir, "modules": modules, "verified": verified})
	}
	c.result("%s", m.out.dir)
	return nil
}

// write writes the merged model and returns how many modules the adapter changed.
func (m *merging) write(ctx context.Context, model string) (modules int, err error) {
	base, err := openBase(model)
	if err != nil {
		return 0, err
	}
	defer base.Close()
	adapter, err := surgery.OpenAdapter(m.adapter)
	if err != nil {
		return 0, err
	}
	defer adapter.Close()
	merged, err := surgery.NewMerged(base, adapter)
	if err != nil {
		return 0, err
	}
	if err := m.out.prepare(base.Dir, m.adapter); err != nil {
		return 0, err
	}
	stored, named := "", base.DType()
	if *m.dtype != "auto" {
		stored, named = *m.dtype, *m.dtype
	}
	if err := merged.Write(ctx, m.out.dir, stored); err != nil {
		return 0, err
	}
	return len(adapter.Modules()), writeCompanions(base.Dir, m.out.dir, base.Config.JSON(named))
}
