package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/conformance"
	"trainer/core/plugin"
	"trainer/fault"
)

// cpuBackend is the CPU backend of this tree's build.
func cpuBackend(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "build", "lib", "trainer", "backends", plugin.FileName("cpu")))
	require.NoError(t, err)
	require.FileExists(t, path, "make native builds it")
	return path
}

// liarBackend compiles a backend of core/conformance/testdata, which lets the CPU backend
// work, and tells it what to do wrong.
func liarBackend(t testing.TB, source, variable, lie string) string {
	t.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	room := filepath.Join("..", "..", "core", "conformance", "testdata")
	path := filepath.Join(t.TempDir(), plugin.FileName("liar"))
	text, err := exec.Command(cc, "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-I../../core/abi", "-o", path, filepath.Join(room, source), "-ldl", "-lpthread", "-lm").CombinedOutput()
	require.NoError(t, err, string(text))
	t.Setenv("TRAINER_BACKEND", cpuBackend(t))
	t.Setenv(variable, lie)
	return path
}

// judged judges one group of a file in child processes.
func judged(t *testing.T, path, group string) *conformance.Report {
	t.Helper()
	report, err := discard(t).judgeFile(path, checkFlags{tier: 1, ops: []string{group}})
	require.NoError(t, err)
	return report
}

// named finds a result by its name.
func named(t *testing.T, r *conformance.Report, name string) conformance.Result {
	t.Helper()
	i := slices.IndexFunc(r.Results, func(res conformance.Result) bool { return res.Name() == name })
	require.GreaterOrEqual(t, i, 0, "no result %s in %+v", name, r.Results)
	return r.Results[i]
}

// A crash is a result of the case in which it comes; the cases behind it are judged too.
func TestCheckSurvivesCrashes(t *testing.T) {
	r := judged(t, liarBackend(t, "liar_border.c", "TRAINER_LIE", "process.survives"), "memory")
	res := named(t, r, "memory/staging is host-visible")
	assert.Equal(t, "process.survives", res.Demand)
	assert.Contains(t, res.Reason, "SIGSEGV")
	assert.Equal(t, conformance.Pass, named(t, r, "memory/counted").Status)
	assert.Equal(t, 2, r.Count(conformance.Fail), "staging and device memory ask for 4095 bytes: %s", r.Summary())
}

func TestCheckNoticesExits(t *testing.T) {
	r := judged(t, liarBackend(t, "liar_border.c", "TRAINER_LIE", "process.exit"), "handles")
	res := named(t, r, "handles/used after they ended")
	assert.Equal(t, "process.survives", res.Demand)
	assert.Contains(t, res.Reason, "exit code 0")
	assert.Zero(t, r.Group("handles").Count(conformance.Pass))
}

func TestCheckEndsHangs(t *testing.T) {
	old := caseWithin
	caseWithin = 2 * time.Second
	t.Cleanup(func() { caseWithin = old })
	r := judged(t, liarBackend(t, "liar_border.c", "TRAINER_LIE", "process.ends"), "timelines")
	assert.Equal(t, "process.ends", named(t, r, "timelines/values").Demand)
	assert.Equal(t, conformance.Pass, named(t, r, "timelines/timeouts").Status)
}

func TestCheckHearsPrints(t *testing.T) {
	r := judged(t, liarBackend(t, "liar_border.c", "TRAINER_LIE", "process.silent"), "bindings")
	res := named(t, r, "bindings/output")
	assert.Equal(t, "process.silent", res.Demand)
	assert.Contains(t, res.Reason, "hello")
	assert.Equal(t, 1, r.Count(conformance.Fail))
}

// A backend that keeps the params of the first step trains to other losses.
func TestCheckComparesLosses(t *testing.T) {
	r := judged(t, liarBackend(t, "faulty.c", "TRAINER_FAULT", "params"), trainingGroup)
	require.Equal(t, 3, r.Count(conformance.Fail), r.Summary())
	assert.Equal(t, "training.loss", named(t, r, "training/lora").Demand)
}

func TestCheckRefusesWhatIsNoBackend(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), plugin.FileName("text")), "hello")
	r := judged(t, path, "memory")
	assert.Equal(t, "file.usable", r.Results[0].Demand)
	assert.Len(t, r.Results, 1)
	assert.False(t, r.OK())
}

func TestLossesAreComparedByNumericsClass(t *testing.T) {
	share, err := compareLosses([]float64{1, 2.001}, []float64{1, 2}, 1e-3)
	require.NoError(t, err)
	assert.InDelta(t, 0.5, share, 1e-9)
	_, err = compareLosses([]float64{1, 2.1}, []float64{1, 2}, 1e-3)
	assert.EqualError(t, err, "the loss of step 2 is 2.100000, expected 2.000000 ± 0.002")
	_, err = compareLosses([]float64{1}, []float64{1, 2}, 1e-3)
	assert.ErrorContains(t, err, "1 steps were made, expected 2")
	assert.Equal(t, []float64{1e-3, 1e-2, 1e-3}, []float64{lossTolerance(0), lossTolerance(1), lossTolerance(2)})
}

// The program itself: reports in three forms, one case, and refusals.
func TestBackendCheck(t *testing.T) {
	cpu, dir := cpuBackend(t), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	r := trainer(t, "backend", "check", cpu, "--op", "structs,fill", "--report", at("a.md"), "--report", at("a.json"), "--report", at("a.xml"))
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, "125 pass, 0 fail")
	text, err := os.ReadFile(at("a.json"))
	require.NoError(t, err)
	var report conformance.Report
	require.NoError(t, json.Unmarshal(text, &report))
	assert.True(t, report.OK())
	text, err = os.ReadFile(at("a.xml"))
	require.NoError(t, err)
	require.NoError(t, xml.Unmarshal(text, new(struct{})))
	text, err = os.ReadFile(at("a.md"))
	require.NoError(t, err)
	assert.Contains(t, string(text), "| structs | 10 | 10 | 0 | 0 | 0 | 0 | 0.00 |")

	for _, args := range [][]string{nil, {"--in_process"}} {
		r = trainer(t, append([]string{"backend", "check", cpu, "--only", "lists/wrong magic"}, args...)...)
		require.Zero(t, r.code, r.err)
		assert.Contains(t, r.out, "2 pass, 0 fail", "the file and the case")
	}
	expected := write(t, at("expected.yaml"), "\"lists/wrong magic\": it used to fail\n")
	r = trainer(t, "backend", "check", cpu, "--only", "lists/wrong magic", "--expected", expected)
	assert.Equal(t, int(fault.Device), r.code)
	assert.Contains(t, r.out, "unexpected-pass  lists/wrong magic")

	refused(t, fault.Usage, `--report: found "a.txt", expected a file that ends in .md, .json or .xml`, "backend", "check", cpu, "--report", "a.txt")
	r = trainer(t, "backend", "check", cpu, "--op", "nothing")
	assert.Equal(t, int(fault.Usage), r.code)
	assert.True(t, strings.HasPrefix(r.err, `trainer: op "nothing" is not known; groups are `), r.err)
	refused(t, fault.Usage, "FILE is missing: the library of a backend", "backend", "check")
}
