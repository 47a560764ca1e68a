package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"trainer/core/program"
	"trainer/training"
	"trainer/training/data"
	"trainer/training/metrics"
	"trainer/training/optim"
)

// jobs is what a worker can do.
var jobs = work{"train": runTraining, "plan": runPlan, benchCommand: runBench, "generate": runGenerate, "eval": runEval, "verify": runVerify, replayCommand: runReplay, backendBenchCommand: runBackendBench}

// runTraining is a whole run: plan, load, train, save.
func runTraining(ctx context.Context, job Job, events Events) (result Result, err error) {
	w, err := openWorkshop(job)
	if err != nil {
		return result, err
	}
	defer w.close(&err)
	loop, start, err := w.plan(events)
	if err != nil {
		return result, err
	}
	if err := w.allocate(); err != nil {
		return result, err
	}
	if err := w.restore(loop.From.Step); err != nil {
		return result, err
	}
	if err := w.answer(ctx, events, loop.From.Step); err != nil && ctx.Err() == nil {
		return result, err
	}
	out, err := w.train(ctx, events, loop, start)
	result = Result{Interrupted: out.Interrupted, End: out.End}
	if err != nil {
		return result, err
	}
	if err := w.save(events); err != nil || out.Interrupted {
		return result, err
	}
	return result, w.answer(ctx, events, out.Steps)
}

// plan reads the data, prepares what the run will do and tells it. The loop begins where the
// job's checkpoint stands.
func (w *workshop) plan(events Events) (loop training.Loop, start Start, err error) {
	if loop, err = w.loop(events); err != nil {
		return loop, start, err
	}
	if err := w.prepare(w.uses(loop)); err != nil {
		return loop, start, err
	}
	c := w.job.Config
	steps := loop.Steps(c.BatchSize, c.GradientAccumulationSteps)
	report := w.report(steps)
	if err := events.Plan(report); err != nil {
		return loop, start, err
	}
	if c.Type().DoRA() {
		if err := events.Log("DoRA adapters are for PEFT; for what does not read them, trainer merge folds one into its base"); err != nil {
			return loop, start, err
		}
	}
	err = w.goOn(&loop)
	return loop, w.start(report, steps), err
}

// train takes the steps of a loop, watched by the device's meters and saved by checkpoints.
func (w *workshop) train(ctx context.Context, events Events, loop training.Loop, start Start) (out training.Outcome, err error) {
	if err := events.Start(start); err != nil {
		return out, err
	}
	watched, done, err := watch(events, w.job)
	if err != nil {
		return out, err
	}
	defer done()
	w.checkpoints(&loop, events, start.Config)
	return w.engine.Train(ctx, loop, watched)
}

// start is what the run begins with. Its settings have nothing left to be decided.
func (w *workshop) start(report PlanReport, steps int) Start {
	c := w.job.Config
	c.Recompute, c.UseActivationCPUOffload = report.Recompute, strconv.FormatBool(report.Offload)
	return Start{Steps: steps, Config: c, Start: metrics.Start{Backend: c.Backend, Device: w.job.Device.Info().Name, Model: report.Model,
		Parameters: report.Parameters, TrainableParameters: report.Trainable, NativeOps: report.Native, ComposedOps: report.Composed}}
}

// loop reads the data and makes the plan of the loop.
func (w *workshop) loop(events Events) (training.Loop, error) {
	c := w.job.Config
	l := training.Loop{Record: w.job.Record, RecordStep: w.job.RecordStep, PadID: data.PadID(w.tok), Epochs: c.NumEpochs, MaxSteps: c.MaxSteps, EvalSteps: c.EvalSteps, Shuffle: c.Shuffle, GroupByLength: c.GroupByLength}
	var err error
	if l.Train, err = w.dataset(events, c.Dataset, c.DatasetSamples); err != nil {
		return l, err
	}
	if c.EvalDataset != "" {
		if l.Eval, err = w.dataset(events, c.EvalDataset, c.EvalSamples); err != nil {
			return l, err
		}
	}
	l.Schedule, err = optim.NewSchedule(c.Schedule(l.Steps(c.BatchSize, c.GradientAccumulationSteps)))
	return l, err
}

// uses is what a loop and the job's prompts ask of an engine.
func (w *workshop) uses(l training.Loop) training.Uses {
	u := l.Uses(w.settings())
	u.Source, u.Generate = w.source, w.longestText()
	return u
}

// interrupted turns the end of a cancelled context into a result.
func (w *workshop) interrupted(ctx context.Context, err error) (Result, error) {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return Result{Interrupted: true}, nil
	}
	return Result{}, err
}

// report tells what the prepared engine takes.
func (w *workshop) report(steps int) PlanReport {
	e := w.engine
	parameters, trainable := w.net.Counts()
	r := PlanReport{Model: w.name(), Parameters: parameters, Trainable: trainable, Precision: w.job.Config.Precision,
		Recompute: e.RecomputeName(), Offload: e.Offloads(), Steps: steps, Total: e.Session.Memory().Total(), Limit: w.limit(), Fits: true,
		Kinds: planBytes(e.MemoryByKind()), Phases: planBytes(e.MemoryByPhase()), Host: planBytes(e.HostMemory())}
	r.Native, r.Composed = e.Session.Ops()
	return r
}

func planBytes(usage []training.Usage) []PlanBytes {
	lines := make([]PlanBytes, len(usage))
	for i, u := range usage {
		lines[i] = PlanBytes(u)
	}
	return lines
}

// name is the model as people know it.
func (w *workshop) name() string {
	if w.job.Config.Shape != "" {
		return w.job.Config.Shape
	}
	return strings.TrimSuffix(w.job.Config.ModelName, "/")
}

// settings are the maths of the run.
func (w *workshop) settings() training.Settings {
	c := w.job.Config
	p, _ := program.PrecisionByName(c.Precision) // the table of settings knows the names
	return training.Settings{Precision: p, Batch: int64(c.BatchSize), Accumulation: c.GradientAccumulationSteps, Grain: w.grain(), Packed: w.packed,
		Recompute: c.Recompute, Offload: c.UseActivationCPUOffload, PerToken: c.LossNormalization == "token", Seed: c.Seed, MemoryLimit: w.limit(),
		HostMemoryLimit: w.hostLimit(), Optimizer: w.optimizer()}
}

// grain is what lengths of rows are rounded up to.
func (w *workshop) grain() int64 {
	if w.longest > 0 {
		return training.Granularity(w.longest)
	}
	return training.Granularity(int64(w.job.Config.ContextLength))
}

// optimizer is the rule of the update. Constants it has not are 0.
func (w *workshop) optimizer() training.Optimizer {
	c := w.job.Config
	rule, _ := training.RuleByName(c.Optimizer) // the table of settings knows the names
	o := training.Optimizer{Rule: rule, WeightDecay: *c.WeightDecay}
	if c.AdamEpsilon != nil {
		o.Beta1, o.Beta2, o.Eps = *c.AdamBeta1, *c.AdamBeta2, *c.AdamEpsilon
	}
	if *c.ApplyGradientClipping {
		o.MaxNorm = *c.GradNorm
	}
	return o
}

// lora is the shape of the adapters: of the adapter that is used, else what the settings say.
// It refuses targets the model does not have.
func (w *workshop) lora() (training.LoRA, error) {
	if w.job.adopted != nil {
		return *w.job.adopted, nil
	}
	c := w.job.Config
	l := training.LoRA{Rank: int64(c.LoraRank), Alpha: c.LoraAlpha, Dropout: c.LoraDropout, RankStable: c.UseRSLoRA}
	var err error
	if l.Targets, err = w.model.Config.Targets(c.Targets()); err != nil {
		return l, err
	}
	l.RankPattern, _ = c.Ranks() // patterns were read before
	l.AlphaPattern, _ = c.Alphas()
	return l, l.Check()
}
