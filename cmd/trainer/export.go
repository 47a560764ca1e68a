package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trainer/fault"
	"trainer/llama/surgery"
)

// newExport makes `trainer export`.
func newExport(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "export --model_name DIR [--adapter DIR] --output_dir OUT [flags]", Short: "write a model or an adapter for llama.cpp (GGUF) or mlx_lm", Args: noArguments,
		Example: "  trainer export --model_name DIR --dtype q8_0 --output_dir OUT                  # the model as GGUF\n" +
			"  trainer export --model_name DIR --adapter A --merge --output_dir OUT           # … with an adapter in it\n" +
			"  trainer export --model_name DIR --adapter A --output_dir OUT                   # the adapter alone\n" +
			"  trainer export --model_name DIR --adapter A --format mlx --output_dir OUT      # … for mlx_lm\n" +
			"  trainer export --model_name DIR --format mlx --bits 4 --output_dir OUT         # the model quantised for mlx_lm"}
	settings := addSettings(cmd, inGroups(nil, "model_name"))
	var e exporting
	cmd.Flags().StringVar(&e.adapter, "adapter", "", "PEFT folder `DIR`: export it, for the model")
	cmd.Flags().BoolVar(&e.merge, "merge", false, "export the model with the adapter merged into it")
	cmd.Flags().StringVar(&e.format, "format", "gguf", "`NAME`: gguf or mlx")
	cmd.Flags().StringVar(&e.dtype, "dtype", "f16", "store matrices of a GGUF file as `NAME`: "+ggufDTypes())
	cmd.Flags().Int64Var(&e.mlx.Bits, "bits", 4, "of a weight in an mlx_lm model: `N` of 2, 3, 4, 5, 6 and 8")
	cmd.Flags().Int64Var(&e.mlx.Group, "group_size", 64, "weights that share a scale in an mlx_lm model: `N` of 32, 64 and 128")
	e.out = addOutput(cmd, "for the file, named by model or adapter and dtype, or for what mlx_lm reads")
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := settings.config(nil)
		if err != nil {
			return err
		}
		e.model = s.ModelName
		if err := e.check(); err != nil {
			return err
		}
		return interruptible(func(ctx context.Context) error { return c.export(ctx, e, *asJSON) })
	}
	return cmd
}

// exporting is what export is asked.
type exporting struct {
	model, adapter, format, dtype string
	merge                         bool
	mlx                           surgery.MLXQuantisation
	out                           *output
}

func ggufDTypes() string {
	return strings.Join(slices.Sorted(maps.Keys(surgery.GGUFTypes)), ", ")
}

// check refuses what can be refused at once.
func (e *exporting) check() error {
	if err := required(map[string]string{"model_name": e.model}, "model_name"); err != nil {
		return err
	}
	_, known := surgery.GGUFTypes[e.dtype]
	switch {
	case e.format != "gguf" && e.format != "mlx":
		return &fault.Error{Kind: fault.Usage, Where: "--format", Found: fmt.Sprintf("%.40q", e.format), Want: "gguf or mlx"}
	case !known:
		return &fault.Error{Kind: fault.Usage, Where: "--dtype", Found: fmt.Sprintf("%.40q", e.dtype), Want: "one of " + ggufDTypes()}
	case e.merge && e.adapter == "":
		return fault.New(fault.Usage, "--adapter is missing: name the adapter to --merge")
	case !slices.Contains([]int64{2, 3, 4, 5, 6, 8}, e.mlx.Bits):
		return &fault.Error{Kind: fault.Usage, Where: "--bits", Found: fmt.Sprint(e.mlx.Bits), Want: "2, 3, 4, 5, 6 or 8"}
	case !slices.Contains([]int64{32, 64, 128}, e.mlx.Group):
		return &fault.Error{Kind: fault.Usage, Where: "--group_size", Found: fmt.Sprint(e.mlx.Group), Want: "32, 64 or 128"}
	}
	if err := e.out.given(); err != nil {
		return err
	}
	return checkAdapter("--adapter", e.adapter)
}

// export writes the file or folder and shows where it is.
func (c *console) export(ctx context.Context, e exporting, asJSON bool) error {
	base, err := openBase(e.model)
	if err != nil {
		return err
	}
	defer base.Close()
	var adapter *surgery.Adapter
	if e.adapter != "" {
		if adapter, err = surgery.OpenAdapter(e.adapter); err != nil {
			return err
		}
		defer adapter.Close()
	}
	if err := e.out.prepare(base.Dir, e.adapter); err != nil {
		return err
	}
	path, err := e.write(ctx, base, adapter)
	if err != nil {
		return err
	}
	if window := base.Config.Window(); e.format == "gguf" && window > 0 && window < base.Config.MaxPositions && base.Config.ModelType != "phi3" {
		c.note("GGUF does not hold this model's sliding window: keep contexts within %d tokens", window)
	}
	if asJSON {
		return c.json(map[string]any{"path": path, "format": e.format})
	}
	c.result("%s", path)
	return nil
}

// write writes what was asked for and returns its path.
func (e *exporting) write(ctx context.Context, base *surgery.Base, adapter *surgery.Adapter) (path string, err error) {
	if e.format == "mlx" && adapter != nil && !e.merge {
		return e.out.dir, surgery.WriteMLX(e.out.dir, base, adapter)
	}
	var model surgery.Source = base
	if e.merge {
		if model, err = surgery.NewMerged(base, adapter); err != nil {
			return "", err
		}
	}
	if e.format == "mlx" {
		if err := surgery.WriteMLXModel(ctx, e.out.dir, base, model, e.mlx); err != nil {
			return "", err
		}
		return e.out.dir, writeCompanions(base.Dir, e.out.dir, base.Config.Quantised(base.DType(), e.mlx.Bits, e.mlx.Group))
	}
	stored, name := surgery.GGUFTypes[e.dtype], baseName(e.model)
	if adapter != nil {
		name = baseName(e.adapter)
	}
	path = filepath.Join(e.out.dir, name+"-"+strings.ToUpper(e.dtype)+".gguf")
	if adapter == nil || e.merge {
		return path, surgery.WriteGGUF(ctx, path, name, base, model, stored)
	}
	path = strings.TrimSuffix(path, ".gguf") + "-LoRA.gguf"
	return path, surgery.WriteGGUFAdapter(path, name, base, adapter, stored)
}
