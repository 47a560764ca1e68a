package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"trainer/core/conformance"
	"trainer/core/dump"
	"trainer/core/plugin"
	"trainer/fault"
	"trainer/files/atomicfile"
)

// checkFlags are how a backend is to be judged.
type checkFlags struct {
	tier, device int
	slow         int
	ops          []string
	seed         int
	reports      []string
	note         string
	expected     string
	only         string
	failures     string
	inProcess    bool
	asJSON       *bool
}

// newBackendCheck makes `trainer backend check`.
func newBackendCheck(c *console) *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check FILE [flags]",
		Short: "whether a backend works: every op and every demand of the border",
		Long: `The definition of "works". Every op is compared with a float64 reference, within published
tolerances that know no backend, between guard bytes and poisoned memory, as a list and as a
plan; every demand of trainer_backend.h on calls, handles, memory, lists, timelines, threads
and the process is tried; a small Llama is fine-tuned for 20 steps with full, LoRA and QLoRA.
Each group of cases runs in a child process, so that a crash is a result.

A case passes, fails, or is unsupported: an op of tier 1 that is not claimed, whose
composition is judged instead. Exit code 0 only without failures and unexpected passes.`,
		Example: `  trainer backend check build/trainer-backend-foo.so --tier 0
  trainer backend check trainer-backend-foo.so --op matmul,lists --report out.md --report out.xml
  gdb --args trainer backend check trainer-backend-foo.so --in_process --only "lists/wrong magic"`,
	}
	flags := cmd.Flags()
	flags.IntVar(&f.tier, "tier", 1, "`N`: 0 judges mandatory ops only, 1 fused ones too, 2 all there are")
	flags.StringSliceVar(&f.ops, "op", nil, "only these ops and groups, `NAME`,NAME")
	flags.IntVar(&f.seed, "seed", 1, "`N`: equal seeds give equal cases")
	flags.IntVar(&f.device, "device_index", 0, "`N` of the backend's devices")
	flags.StringArrayVar(&f.reports, "report", nil, "write a report to `FILE`.md, .json or .xml (JUnit); may be repeated")
	flags.IntVar(&f.slow, "slow", 1, "`N`: every case may take N times as long, for emulators")
	flags.StringVar(&f.note, "note", "", "a sentence for the reports, `TEXT`, as where it ran")
	flags.StringVar(&f.expected, "expected", "", "a YAML `FILE` of failures that are known: \"group/case: reason\"; a name ending in * stands for all that begin so")
	flags.StringVar(&f.failures, "save_failures", "", "a folder `DIR` for failing cases of ops, one file each, which trainer backend replay reads")
	flags.StringVar(&f.only, "only", "", "one case, `GROUP/CASE`")
	flags.BoolVar(&f.inProcess, "in_process", false, "no child processes, for debuggers and sanitizers")
	f.asJSON = addJSON(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		path, err := oneArgument(args, "FILE", "the library of a backend")
		if err != nil {
			return err
		}
		return c.checkBackend(path, f)
	}
	return cmd
}

// checkBackend judges a file and reports.
func (c *console) checkBackend(path string, f checkFlags) error {
	known, err := readExpected(f.expected)
	if err != nil {
		return err
	}
	if err := checkReportNames(f.reports); err != nil {
		return err
	}
	report, err := c.judgeFile(path, f)
	if err != nil {
		return err
	}
	report.Note = f.note
	unknown := report.Expect(known)
	if f.only == "" && len(f.ops) == 0 && len(unknown) > 0 {
		return &fault.Error{Kind: fault.Usage, Where: f.expected, Found: fmt.Sprintf("%.80q", unknown[0]), Want: "the name of a case that was judged, GROUP/CASE"}
	}
	for _, name := range f.reports {
		if err := writeReport(name, report); err != nil {
			return err
		}
	}
	if *f.asJSON {
		err = c.json(report)
	} else {
		c.verdict(path, report)
	}
	if err == nil && !report.OK() {
		return fault.New(fault.Device, "backend %s does not pass: %s", report.Backend, report.Summary())
	}
	return err
}

// judgeFile takes a file through the stages and judges it group by group.
func (c *console) judgeFile(path string, f checkFlags) (*conformance.Report, error) {
	suite, groups, err := selectGroups(f)
	if err != nil {
		return nil, err
	}
	candidate := plugin.Examine(path)
	if candidate.Reason == plugin.ReasonNotFound {
		return nil, &fault.Error{Kind: fault.Usage, Where: path, Found: "no such file", Want: "the library of a backend, as " + plugin.FileName("NAME")}
	}
	first := examined(candidate)
	if !candidate.Usable() || f.device < 0 || f.device >= len(candidate.Devices) {
		if candidate.Usable() {
			return nil, &fault.Error{Kind: fault.Usage, Where: "--device_index", Found: fmt.Sprint(f.device), Want: fmt.Sprintf("0 to %d", len(candidate.Devices)-1)}
		}
		report := suite.Report(candidate.Name, plugin.DeviceInfo{Name: "none"})
		report.Results = append(report.Results, first)
		c.groupLine(first.Op, report, 0)
		return report, nil
	}
	choice := plugin.Choice{Candidate: candidate, Device: f.device}
	report := suite.Report(candidate.Name, choice.Info())
	report.Results = append(report.Results, first)
	c.groupLine(first.Op, report, 0)
	folder, err := os.MkdirTemp("", "trainer-check-*")
	if err != nil {
		return nil, fault.New(fault.Disk, "make a folder for files: %w", err)
	}
	defer os.RemoveAll(folder)
	for _, g := range append(suite.Groups(choice.Info()), groups...) {
		began := time.Now()
		job := checkJob{Choice: choice, Options: suite.Options(), Group: g, Folder: folder, Slow: f.slow}
		judge := judgeGroup
		if f.inProcess {
			judge = judgeHere
		}
		results := judge(job)
		if err := saveFailures(f.failures, suite, results, report); err != nil {
			return nil, err
		}
		report.Results = append(report.Results, results...)
		c.groupLine(g.Title(), &conformance.Report{Results: results}, time.Since(began))
	}
	return report, nil
}

// saveFailures writes what failed into a folder, for replay.
func saveFailures(dir string, s *conformance.Suite, results []conformance.Result, r *conformance.Report) error {
	for i, res := range results {
		if dir == "" || !s.Savable(res) {
			continue
		}
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return atomicfile.Error(dir, err)
		}
		results[i].Saved = filepath.Join(dir, fileName(res.Name())+".zip")
		if err := s.Save(res, results[i].Saved, dump.Header{ABI: r.ABI, Backend: r.Backend, Device: r.Device}); err != nil {
			return atomicfile.Error(results[i].Saved, err)
		}
	}
	return nil
}

// fileName is a case's name with nothing in it that a file's may not have.
func fileName(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' {
			return c
		}
		return '-'
	}, name)
}

// selectGroups makes the suite, and the groups that are judged beside it.
func selectGroups(f checkFlags) (*conformance.Suite, []conformance.Group, error) {
	o := conformance.Options{Tier: f.tier, Seed: uint64(f.seed), Ops: slices.Clone(f.ops)}
	training := trainingCases()
	group, name, one := strings.Cut(f.only, "/")
	if one && group == trainingGroup && slices.Contains(training.Case, name) {
		training.Case = []string{name}
		return conformance.Nothing(o), []conformance.Group{training}, nil
	}
	beside := len(o.Ops) == 0 && !one
	if i := slices.Index(o.Ops, trainingGroup); i >= 0 {
		o.Ops, beside = slices.Delete(o.Ops, i, i+1), true
		if len(o.Ops) == 0 {
			return conformance.Nothing(o), []conformance.Group{training}, nil
		}
	}
	s, err := conformance.New(o)
	if err == nil && f.only != "" {
		err = s.Only(f.only)
	}
	if err != nil {
		return nil, nil, &fault.Error{Kind: fault.Usage, Err: err, Remedy: "groups are " + strings.Join(conformance.GroupNames(), ", ") + ", " + trainingGroup}
	}
	if !beside {
		return s, nil, nil
	}
	return s, []conformance.Group{training}, nil
}

// groupLine is how a group went.
func (c *console) groupLine(name string, r *conformance.Report, took time.Duration) {
	style := "32"
	if r.Count(conformance.Fail) > 0 {
		style = "31"
	}
	worst := ""
	for _, res := range r.Results {
		if res.Share > 0 {
			worst = fmt.Sprintf(", worst error %.2g of the tolerance", r.Worst())
			break
		}
	}
	c.note("%-28s %s%s, %.1f s", name, paint(coloured(c.err), style, r.Summary()), worst, took.Seconds())
}

// verdict writes what is missing, every failure with the demand behind it, and the end.
func (c *console) verdict(path string, r *conformance.Report) {
	if names := r.Missing(); len(names) > 0 {
		c.result("mandatory ops that are missing: %s", strings.Join(names, ", "))
	}
	if names := r.Unclaimed(); len(names) > 0 {
		c.result("not claimed, and composed: %s", strings.Join(names, ", "))
	}
	for _, res := range r.Results {
		switch res.Status {
		case conformance.Fail, conformance.UnexpectedPass:
			c.result("\n%s  %s\n  %s", paint(coloured(c.out), "31", string(res.Status)), res.Name(), printable(res.Reason))
			if text := conformance.DemandText(res.Demand); text != "" {
				c.result("  rule %s: %s", res.Demand, text)
			}
			if res.Saved != "" {
				c.result("  saved: %s", res.Saved)
			}
			if res.Op == fileGroup || beside(res.Case) {
				continue
			}
			c.result("  again: trainer backend check %s --only %q", path, strings.Replace(res.Name(), " (fast)/", "/", 1))
		case conformance.ExpectedFail:
			c.result("expected to fail  %s: %s", res.Name(), printable(res.Reason))
		}
	}
	c.result("\n%s on %s%s: %s", r.Backend, r.Device, map[bool]string{true: ", " + r.ISA}[r.ISA != ""], r.Summary())
}

// readExpected reads names of cases and why they fail.
func readExpected(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Usage, Where: "--expected " + path, Err: errors.Unwrap(err), Want: "a YAML file of cases and reasons"}
	}
	known := map[string]string{}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&known); err != nil && !errors.Is(err, io.EOF) {
		return nil, &fault.Error{Kind: fault.Usage, Where: path, Err: err, Want: "lines like \"matmul/NAME: why it fails\""}
	}
	for name, reason := range known {
		if strings.TrimSpace(reason) == "" {
			return nil, &fault.Error{Kind: fault.Usage, Where: path, Field: name, Found: "no reason", Want: "why it is known to fail"}
		}
	}
	return known, nil
}

// reportKinds are the reports by the end of the file's name.
var reportKinds = map[string]func(*conformance.Report, io.Writer) error{
	".md": (*conformance.Report).WriteMarkdown, ".json": (*conformance.Report).WriteJSON, ".xml": (*conformance.Report).WriteJUnit,
}

func checkReportNames(names []string) error {
	for _, name := range names {
		if reportKinds[filepath.Ext(name)] == nil {
			return &fault.Error{Kind: fault.Usage, Where: "--report", Found: fmt.Sprintf("%.80q", name), Want: "a file that ends in .md, .json or .xml"}
		}
	}
	return nil
}

func writeReport(name string, r *conformance.Report) error {
	var text bytes.Buffer
	if err := reportKinds[filepath.Ext(name)](r, &text); err != nil {
		return err
	}
	return atomicfile.WriteFile(name, text.Bytes())
}
