package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"trainer/core/conformance"
	"trainer/core/dump"
	"trainer/fault"
	"trainer/training/config"
)

const replayCommand = "replay"

// newBackendReplay makes `trainer backend replay`.
func newBackendReplay(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay DUMP [flags]",
		Short: "find the first wrong op of a recorded step",
		Long: `Runs a step that trainer --record kept, record by record, on any backend. Each record reads
what the records before it made on this backend, is run as a list and as a plan, and is
compared with the float64 reference; the first that is wrong is shown. Exit code 5 then.`,
		Example: `  trainer --model_name DIR --dataset FILE --output_dir OUT --max_steps 1 --record step.zip
  trainer backend replay step.zip --backend foo --backend_path .`,
	}
	settings := addSettings(cmd, inGroups([]config.Group{config.Device}))
	asJSON := addJSON(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		path, err := oneArgument(args, "DUMP", "the file that trainer --record wrote")
		if err != nil {
			return err
		}
		s, err := settings.config(nil)
		if err != nil {
			return err
		}
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
		job := Job{Command: replayCommand, Config: s, Record: path}
		if job.Device, err = chooseDevice(&job.Config); err != nil {
			return err
		}
		c.note("%s", job.Device.Why)
		result, err := launch(job, c.showLog)
		if err != nil {
			return err
		}
		if result.Replayed == nil {
			return fmt.Errorf("the worker replayed nothing")
		}
		return c.replayed(job, *result.Replayed, *asJSON)
	}
	return cmd
}

// replayed writes how a replay went.
func (c *console) replayed(job Job, r conformance.Replayed, asJSON bool) error {
	if asJSON {
		if err := c.json(r); err != nil {
			return err
		}
	} else {
		c.result("%s: %d records of %d lists are right on %s; the largest error is %.0f %% of what is allowed", job.Record, r.Records, r.Lists, job.Config.Backend, 100*r.Share)
		c.result("  native: %s", listed(r.Native))
		c.result("  composed: %s", listed(r.Composed))
		c.recordTimes(r.Times)
	}
	f := r.Finding
	if f == nil {
		return nil
	}
	if !asJSON {
		c.result("  wrong: list %d, record %d, %s", f.List, f.Record, f.Call)
	}
	return &fault.Error{Kind: fault.Device, Where: fmt.Sprintf("list %d, record %d (%s)", f.List, f.Record, f.Op),
		Err: errors.New("backend " + job.Config.Backend + ": " + f.Reason), Remedy: "trainer backend check --op " + f.Op + " judges it on small cases"}
}

// recordTimes writes what the device says the records took, by op, the slowest first.
func (c *console) recordTimes(times []conformance.RecordTime) {
	type sum struct {
		op             string
		records        int
		seconds, worst float64
	}
	at := map[string]*sum{}
	var all []*sum
	for _, t := range times {
		s := at[t.Op]
		if s == nil {
			s = &sum{op: t.Op}
			at[t.Op], all = s, append(all, s)
		}
		s.records++
		s.seconds += t.Seconds
		s.worst = max(s.worst, t.Seconds)
	}
	slices.SortStableFunc(all, func(a, b *sum) int { return cmp.Compare(b.seconds, a.seconds) })
	if len(all) > 0 {
		c.result("\n%-22s %8s %11s %11s", "time on the device", "records", "ms", "slowest ms")
	}
	for _, s := range all {
		c.result("%-22s %8d %11.4f %11.4f", s.op, s.records, 1e3*s.seconds, 1e3*s.worst)
	}
}

// tellEvery is how often a replay says where it is.
const tellEvery = 5 * time.Second

// runReplay replays a recorded step on the job's device.
func runReplay(ctx context.Context, job Job, events Events) (result Result, err error) {
	d, err := dump.Read(job.Record)
	if err != nil {
		return result, &fault.Error{Kind: fault.Files, Where: job.Record, Err: err}
	}
	if err := events.Log("step %d, recorded on %s (%s) with border %s", d.Step, d.Backend, d.Device, d.ABI); err != nil {
		return result, err
	}
	w := &workshop{job: job}
	device, err := w.device()
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	last := time.Now()
	r, err := conformance.Replay(ctx, device, d, func(list uint64, record, of int, name string) {
		if time.Since(last) > tellEvery {
			last = time.Now()
			_ = events.Log("list %d, record %d of %d: %s", list, record, of, name) // who listens no more ends the job elsewhere
		}
	})
	if err != nil {
		return w.interrupted(ctx, err)
	}
	return Result{Replayed: &r}, nil
}
