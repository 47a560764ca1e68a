package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"trainer/fault"
	"trainer/training/optim"
)

// Defaults of settings that depend on others.
const (
	adapterLR       = 2e-4
	fullLR          = 1e-5
	clippedNorm     = 0.3
	cosineMinRatio  = 0.1
	recomputeBlocks = "block:" // followed by how many layers
)

// Resolve checks the settings and decides those that follow from others, so that only
// precision, recompute, backend and device may still say auto. Errors are *fault.Error of
// kind Usage.
func (c *Config) Resolve() error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.LR == nil {
		lr := fullLR
		if c.Type().Adapters() {
			lr = adapterLR
		}
		c.LR = &lr
	}
	if c.Quantization == "" {
		c.Quantization, c.quantiserByType = c.Type().Quantization, true
	}
	if c.Shape == "" {
		c.ModelName = cmp.Or(c.ModelName, c.LlamaProPath)
	}
	if c.CosineMinLRRatio == nil {
		ratio := cosineMinRatio
		if c.schedulerByAlias {
			ratio = 0
		}
		c.CosineMinLRRatio = &ratio
	}
	c.resolveOptimizer()
	c.resolveClipping()
	if c.Recompute == "auto" {
		switch c.UseGradientCheckpointing {
		case "true":
			c.Recompute = "block"
		case "false":
			c.Recompute = "none"
		}
	}
	_, err := optim.NewSchedule(c.Schedule(0))
	return err
}

// constants are those of an optimizer of Adam's kin.
type constants struct{ decay, beta1, beta2, epsilon float64 }

var adamConstants = map[string]constants{
	"adamw":      {0.1, 0.9, 0.95, 1e-5},
	"adamw_8bit": {0.1, 0.9, 0.95, 1e-5},
	"adam":       {0, 0.9, 0.999, 1e-8},
}

func (c *Config) resolveOptimizer() {
	orElse := func(p **float64, x float64) {
		if *p == nil {
			*p = &x
		}
	}
	d, adam := adamConstants[c.Optimizer]
	orElse(&c.WeightDecay, d.decay)
	if adam {
		orElse(&c.AdamBeta1, d.beta1)
		orElse(&c.AdamBeta2, d.beta2)
		orElse(&c.AdamEpsilon, d.epsilon)
	}
}

// checkOptimizer refuses constants that the optimizer has not.
func (c *Config) checkOptimizer() error {
	d, adam := adamConstants[c.Optimizer]
	if c.WeightDecay != nil && *c.WeightDecay != 0 && d.decay == 0 {
		return usage("wd", fmt.Sprintf("%g with --optimizer %s", *c.WeightDecay, c.Optimizer), "adamw or adamw_8bit, which have weight decay")
	}
	if adam {
		return nil
	}
	for _, given := range []struct {
		name string
		x    *float64
	}{{"adam_beta1", c.AdamBeta1}, {"adam_beta2", c.AdamBeta2}, {"adam_epsilon", c.AdamEpsilon}} {
		if given.x != nil {
			return usage(given.name, fmt.Sprintf("%g with --optimizer %s", *given.x, c.Optimizer), "adamw, adamw_8bit or adam, which have it")
		}
	}
	return nil
}

func (c *Config) resolveClipping() {
	if c.ApplyGradientClipping == nil {
		on := c.GradNorm != nil
		c.ApplyGradientClipping = &on
	}
	if *c.ApplyGradientClipping && c.GradNorm == nil {
		norm := clippedNorm
		c.GradNorm = &norm
	}
}

// Schedule is how the learning rate moves over a run of so many optimizer steps. The
// Config must be resolved.
func (c *Config) Schedule(steps int) optim.ScheduleOptions {
	return optim.ScheduleOptions{Kind: c.LRScheduler, LR: *c.LR, MinRatio: *c.CosineMinLRRatio,
		WarmupSteps: c.WarmupSteps, WarmupRatio: c.WarmupRatio, Total: steps}
}

// The projections adapters can attach to, by their PEFT names.
var (
	sixTargets     = []string{"k_proj", "q_proj", "v_proj", "up_proj", "down_proj", "gate_proj"}
	defaultTargets = []string{"q_proj", "v_proj"}
	everyTarget    = append(slices.Clone(sixTargets), "o_proj")
	knownTargets   = append(slices.Clone(everyTarget), "qkv_proj", "gate_up_proj") // some models fuse projections
)

// Targets are the names of the modules that get adapters, in a model whose projections are
// separate.
func (c *Config) Targets() []string {
	switch c.LoraTargetModules {
	case "all":
		return slices.Clone(sixTargets)
	case "default":
		return slices.Clone(defaultTargets)
	case "all_linear", "all-linear":
		return slices.Clone(everyTarget)
	}
	var names []string
	for _, name := range strings.Split(c.LoraTargetModules, ",") {
		names = append(names, strings.TrimSpace(name))
	}
	return names
}

// Validate checks every setting by itself and with the others. Errors are *fault.Error of
// kind Usage.
func (c *Config) Validate() error {
	for _, s := range settings {
		if err := s.check(c); err != nil {
			return err
		}
	}
	for _, check := range []func() error{c.checkTargets, c.checkTrainType, c.checkQuantisation, c.checkRecompute, c.checkOptimizer, c.checkTogether} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// check holds the value against the choices and bounds of the table.
func (s *Setting) check(c *Config) error {
	text := s.Text(c)
	if s.Choices != nil && text != "" && !slices.Contains(s.Choices, text) {
		e := s.refuse(text, "one of "+strings.Join(s.Choices, ", "), Nearest(text, s.Choices))
		if instead, ok := s.Absent[text]; ok {
			e.Remedy = instead
		}
		return e
	}
	if s.Range == nil || text == "" {
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	inside := v >= s.Range.Low && v <= s.Range.High && !(s.Range.Open && (v == s.Range.Low || v == s.Range.High))
	if err != nil || !inside {
		return s.refuse(text, s.Range.Want, "")
	}
	return nil
}

func (s *Setting) refuse(found, want, near string) *fault.Error {
	e := usage(s.Name, fmt.Sprintf("%.80s", found), want)
	if near != "" {
		e.Remedy = "did you mean " + near + "?"
	}
	return e
}

func usage(name, found, want string) *fault.Error {
	return &fault.Error{Kind: fault.Usage, Where: "--" + name, Found: found, Want: want}
}

func (c *Config) checkTargets() error {
	var seen []string
	for _, name := range c.Targets() {
		want := "all, default, all_linear or names out of " + strings.Join(knownTargets, ", ")
		if !slices.Contains(knownTargets, name) {
			e := usage("lora_target_modules", fmt.Sprintf("%.80q", name), want)
			if near := Nearest(name, append([]string{"all", "default", "all_linear"}, knownTargets...)); near != "" {
				e.Remedy = "did you mean " + near + "?"
			}
			return e
		}
		if slices.Contains(seen, name) {
			return usage("lora_target_modules", name+" twice", "every name once")
		}
		seen = append(seen, name)
	}
	return nil
}

func (c *Config) checkRecompute() error {
	if !slices.Contains([]string{"auto", "none", "selective", "block", "lean"}, c.Recompute) {
		layers, isBlocks := strings.CutPrefix(c.Recompute, recomputeBlocks)
		if n, err := strconv.Atoi(layers); !isBlocks || err != nil || n < 1 || n > manyCount {
			return usage("recompute", fmt.Sprintf("%.80q", c.Recompute), "auto, none, selective, block, block:N with the number of layers, or lean")
		}
	}
	switch {
	case c.UseGradientCheckpointing == "true" && c.Recompute == "none":
		return usage("use_gradient_checkpointing", "true with --recompute none", "one of them alone")
	case c.UseGradientCheckpointing == "false" && c.Recompute != "none" && c.Recompute != "auto":
		return usage("use_gradient_checkpointing", "false with --recompute "+c.Recompute, "one of them alone")
	}
	return nil
}

// checkTogether refuses settings that contradict each other.
func (c *Config) checkTogether() error {
	switch {
	case c.WarmupSteps != nil && c.WarmupRatio != nil:
		return usage("warmup_steps", "it and --warmup_ratio", "only one of them")
	case c.ApplyGradientClipping != nil && !*c.ApplyGradientClipping && c.GradNorm != nil:
		return usage("apply_gradient_clipping", "false with --grad_norm", "one of them alone: --grad_norm turns clipping on")
	case c.ModelName+c.LlamaProPath != "" && c.Shape != "":
		return usage("shape", "it and --model_name", "only one of them")
	case c.EvalSteps > 0 && c.EvalDataset == "":
		return usage("eval_steps", "it without --eval_dataset", "the records to evaluate on")
	}
	return nil
}
