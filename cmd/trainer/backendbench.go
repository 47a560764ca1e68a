package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trainer/core/abi"
	"trainer/core/conformance"
	"trainer/core/plugin"
	"trainer/core/program"
	"trainer/core/session"
	"trainer/fault"
	"trainer/training/config"
)

// backendBenchCommand is the job that measures a backend's ops.
const backendBenchCommand = "bench_backend"

// caseTiming is what one benchmark of an op took.
type caseTiming struct {
	conformance.Timing
	BoundShare float64 `json:"bound_share"`
}

// BackendBench is how fast a backend is, and how fast it could be.
type BackendBench struct {
	Backend string `json:"backend"`
	Device  string `json:"device"`
	session.Rates
	Cost   conformance.Cost `json:"cost"`
	Ops    []caseTiming     `json:"ops"`
	Models []BenchReport    `json:"models"`
}

// benchModels are the Llamas that a backend trains: the embedded one, and one of 135 million
// parameters.
var benchModels = []string{"tiny", "small"}

// newBackendBench makes `trainer backend bench`.
func newBackendBench(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench FILE [flags]",
		Short: "how fast a backend is, of what memory and arithmetic allow",
		Long: `Times every op at the sizes of a small Llama against what bounds it: the rate of a large
dense product and that of a copy, both measured on the same device. Then what submitting
takes, as a list and as a plan, and the tokens per second of training tiny and small Llamas.`,
		Example: `  trainer backend bench trainer-backend-foo.so
  trainer backend bench trainer-backend-foo.so --op matmul,linear --models none`,
	}
	ops := cmd.Flags().StringSlice("op", nil, "only these ops, `NAME`,NAME")
	models := cmd.Flags().StringSlice("models", benchModels, "Llamas to train: tiny, small, or none, `NAME`,NAME")
	device := cmd.Flags().Int("device_index", 0, "`N` of the backend's devices")
	asJSON := addJSON(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		path, err := oneArgument(args, "FILE", "the library of a backend")
		if err != nil {
			return err
		}
		if err := checkBenched(*ops, *models); err != nil {
			return err
		}
		choice, err := examinedDevice(path, *device)
		if err != nil {
			return err
		}
		report, err := c.benchBackend(choice, *ops, *models)
		if err != nil {
			return err
		}
		if *asJSON {
			return c.json(report)
		}
		c.backendBench(*report)
		return nil
	}
	return cmd
}

func checkBenched(ops, models []string) error {
	for _, name := range ops {
		if !slices.ContainsFunc(conformance.Benchmarks(), func(c conformance.Case) bool { return c.Op == name }) {
			return &fault.Error{Kind: fault.Usage, Where: "--op", Found: fmt.Sprintf("%.40q", name), Want: "an op, as matmul"}
		}
	}
	for _, name := range models {
		if !slices.Contains(append(benchModels, "none"), name) {
			return &fault.Error{Kind: fault.Usage, Where: "--models", Found: fmt.Sprintf("%.40q", name), Want: strings.Join(benchModels, ", ") + " or none"}
		}
	}
	return nil
}

// examinedDevice takes a file through the stages and chooses one of its devices.
func examinedDevice(path string, device int) (DeviceChoice, error) {
	candidate := plugin.Examine(path)
	if !candidate.Usable() {
		return DeviceChoice{}, &fault.Error{Kind: fault.Device, Where: path, Err: fmt.Errorf("is refused (%s): %s", candidate.Reason, candidate.Sentence)}
	}
	if device < 0 || device >= len(candidate.Devices) {
		return DeviceChoice{}, &fault.Error{Kind: fault.Usage, Where: "--device_index", Found: fmt.Sprint(device), Want: fmt.Sprintf("0 to %d", len(candidate.Devices)-1)}
	}
	return DeviceChoice{Choice: plugin.Choice{Candidate: candidate, Device: device}}, nil
}

// benchBackend has workers measure ops and models.
func (c *console) benchBackend(choice DeviceChoice, ops, models []string) (*BackendBench, error) {
	settings := config.Default()
	settings.Backend = choice.Candidate.Name
	result, err := launch(Job{Command: backendBenchCommand, Config: settings, Device: choice, Bench: BenchOptions{Only: ops}}, c.showLog)
	if err != nil {
		return nil, err
	}
	report := result.BackendBench
	if report == nil {
		return nil, errors.New("the worker measured nothing")
	}
	for _, name := range models {
		if name == "none" {
			continue
		}
		b, err := c.benchModel(choice, name)
		if err != nil {
			return nil, err
		}
		report.Models = append(report.Models, *b)
	}
	return report, nil
}

// benchModel times steps of a Llama with LoRA.
func (c *console) benchModel(choice DeviceChoice, name string) (*BenchReport, error) {
	s := config.Default()
	s.Backend, s.TrainType, s.MaxSteps, s.BatchSize, s.ContextLength = choice.Candidate.Name, "lora", 3, 1, 256
	s.Precision = program.NativePrecision(choice.Info().Computes)
	if err := s.Resolve(); err != nil {
		return nil, err
	}
	job := Job{Command: benchCommand, Config: s, Device: choice}
	if name == "small" {
		job.Config.Shape = "smollm2-135m"
	} else {
		dir, err := os.MkdirTemp("", "trainer-bench-*")
		if err != nil {
			return nil, fault.New(fault.Disk, "make a folder for a model: %w", err)
		}
		defer os.RemoveAll(dir)
		if err := unpackDemo(dir); err != nil {
			return nil, err
		}
		job.ModelDir, job.Config.BatchSize = filepath.Join(dir, "model"), 8
		job.Config.ModelName = job.ModelDir
	}
	c.note("training the %s Llama", name)
	result, err := launch(job, c.showLog)
	if err != nil {
		return nil, err
	}
	if result.Bench == nil {
		return nil, errors.New("the worker measured nothing")
	}
	result.Bench.Model = name
	return result.Bench, nil
}

// runBackendBench measures rates, the cost of submitting, and ops.
func runBackendBench(ctx context.Context, job Job, events Events) (result Result, err error) {
	w := &workshop{job: job}
	b := &BackendBench{Backend: job.Config.Backend, Device: job.Device.Info().Name}
	if err := events.Log("measuring the rates of products and copies, and the cost of submitting"); err != nil {
		return result, err
	}
	device, err := w.device()
	if err != nil {
		return result, err
	}
	if b.Rates, err = session.Measure(device, session.Probe{Compute: abi.F32, Room: w.limit(), Patience: ratePatience}); err != nil {
		return result, err
	}
	if device, err = w.device(); err != nil { // Measure closed the other
		return result, err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	if b.Cost, err = conformance.MeasureCost(device, ratePatience); err != nil {
		return result, err
	}
	for _, c := range conformance.Benchmarks() {
		if len(job.Bench.Only) > 0 && !slices.Contains(job.Bench.Only, c.Op) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return Result{Interrupted: true}, nil
		}
		began := time.Now()
		t, err := conformance.Bench(device, c, opPatience)
		if err != nil {
			return result, fmt.Errorf("%s/%s: %w", c.Op, c.Name, err)
		}
		if time.Since(began) > tellEvery {
			if err := events.Log("%s %s took %s", c.Op, c.Name, duration(t.Seconds)); err != nil {
				return result, err
			}
		}
		b.Ops = append(b.Ops, caseTiming{Timing: t, BoundShare: ideal(t.FLOPs, t.Bytes, b.Rates) / t.Seconds})
	}
	return Result{BackendBench: b}, nil
}

// backendBench writes what was measured.
func (c *console) backendBench(b BackendBench) {
	c.result("%s on %s", b.Backend, b.Device)
	c.result("  dense products %s, copies %s", perSecond(b.GEMM, "FLOP"), perSecond(b.Copy, "B"))
	cost := b.Cost
	c.result("  submitting: %s for a list of one record, %s for %d of them (%s to check)", micro(cost.One), micro(cost.List), cost.Records, micro(cost.Check))
	if cost.Plan > 0 {
		c.result("  as a plan: %s, %.1f times as fast", micro(cost.Plan), cost.List/cost.Plan)
	} else {
		c.result("  no plans")
	}
	device := ""
	if slices.ContainsFunc(b.Ops, func(o caseTiming) bool { return o.Records != nil }) {
		device = "   ms on the device"
	}
	c.result("\n%-22s %-62s %-9s %11s %16s %9s%s", "op", "case", "", "ms", "rate", "of bound", device)
	for _, o := range b.Ops {
		kind := map[bool]string{true: "native", false: "composed"}[o.Native]
		rate := Bound{FLOPs: o.FLOPs, Bytes: o.Bytes}.rate(o.Seconds)
		c.result("%-22s %-62s %-9s %11.4f %16s %7.1f %%%s", o.Op, o.Case, kind, 1e3*o.Seconds, rate, 100*o.BoundShare, o.onDevice())
	}
	if len(b.Models) > 0 {
		c.result("")
	}
	for _, m := range b.Models {
		c.result("%s: %.0f tokens/s, %.3f s a step of %d × %d tokens, %s %s, memory %s", m.Model, float64(m.TokensPerSecond), float64(m.SecondsPerStep), m.BatchSize,
			m.ContextLength, m.TrainType, m.Precision, gib(m.MemoryPeakBytes))
	}
}

// onDevice adds up the times of an op's records; empty where the device does not tell them.
func (t caseTiming) onDevice() string {
	var seconds float64
	for _, took := range t.Records {
		seconds += took
	}
	switch len(t.Records) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(" %19.4f", 1e3*seconds)
	}
	return fmt.Sprintf(" %19.4f in %d records", 1e3*seconds, len(t.Records))
}

// micro writes seconds in microseconds.
func micro(seconds float64) string { return fmt.Sprintf("%.1f µs", 1e6*seconds) }
