package conformance

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/dump"
	"trainer/core/plugin"
)

// faults are what testdata/faulty.c spoils, what is said of two cases, and the demand.
var faults = []struct{ fault, random, swiglu, demand string }{
	{"value", "exactly", "expected", "op.value"},
	{"nan", "exactly", "expected", "op.value"},
	{"outside", "1 bytes before out", "1 bytes before out", "op.bounds"},
	{"input", "byte 0 of in", "byte 0 of in", "op.bounds"},
	{"unstable", "two runs gave different bytes", "two runs gave different bytes", "op.repeat"},
	{"plan", "run 1 of the plan gave other bytes", "run 1 of the plan gave other bytes", "plan.equal"},
	{"params", "with other params, in a plan", "", "plan.params"},
	{fault: "none"},
}

// Whatever a backend does wrong is a failure that says so.
func TestFaults(t *testing.T) {
	t.Setenv("TRAINER_BACKEND", backendPath(t))
	b := load(t, "faulty", buildFaulty(t))
	s := &Suite{wants: map[string]*want{}, cases: []Case{randomCase(plain, 5, 33), swigluCase(abi.F32, plain, plain, 3, 63)}}
	for _, c := range faults {
		t.Run(c.fault, func(t *testing.T) {
			t.Setenv("TRAINER_FAULT", c.fault)
			dev, err := b.OpenDevice(0, plugin.DeviceOptions{})
			require.NoError(t, err)
			report, err := s.Run(dev)
			require.NoError(t, err)
			require.NoError(t, dev.Close())
			for i, want := range []string{c.random, c.swiglu} {
				res := report.Results[i]
				require.Contains(t, res.Reason, want, res.Case)
				require.Equal(t, want != "", res.Status == Fail, "%s: %s", res.Case, res.Reason)
				if want != "" {
					require.Equal(t, c.demand, res.Demand)
				}
			}
			require.Equal(t, c.fault == "none", report.OK())
		})
	}
}

// A case that failed can be saved, and replayed on the backend that failed and on one that
// does not.
func TestSavedCase(t *testing.T) {
	t.Setenv("TRAINER_BACKEND", backendPath(t))
	t.Setenv("TRAINER_FAULT", "value")
	s := &Suite{wants: map[string]*want{}, cases: []Case{swigluCase(abi.F32, plain, wide, 3, 63)}}
	wrong, err := load(t, "faulty", buildFaulty(t)).OpenDevice(0, plugin.DeviceOptions{})
	require.NoError(t, err)
	report, err := s.Run(wrong)
	require.NoError(t, err)
	require.True(t, s.Savable(report.Results[0]))
	file := filepath.Join(t.TempDir(), "case.zip")
	require.NoError(t, s.Save(report.Results[0], file, dump.Header{Backend: "faulty"}))
	d, err := dump.Read(file)
	require.NoError(t, err)
	right, err := load(t, "cpu", backendPath(t)).OpenDevice(0, plugin.DeviceOptions{})
	require.NoError(t, err)
	for dev, op := range map[*plugin.Device]string{right: "", wrong: "swiglu"} {
		replayed, err := Replay(t.Context(), dev, d, func(uint64, int, int, string) {})
		require.NoError(t, err)
		require.Equal(t, op != "", replayed.Finding != nil)
		if op != "" {
			require.Equal(t, op, replayed.Finding.Op)
		}
		require.NoError(t, dev.Close())
	}
}

// A report names what failed, for people and for programs; a known failure is none.
func TestReport(t *testing.T) {
	r := &Report{Backend: "some", Device: "one", Results: []Result{{Op: "copy", Case: "a", Status: Pass, Share: 0.25}, {Op: "copy", Case: "b", Status: Fail, Reason: "it is wrong"}}}
	require.False(t, r.OK())
	var markdown, text bytes.Buffer
	require.NoError(t, r.WriteMarkdown(&markdown))
	require.Contains(t, markdown.String(), "| copy | 2 | 1 | 1 | 0 | 0 | 0 | 0.25 |")
	require.Contains(t, markdown.String(), "- fail: `copy/b`: it is wrong")
	require.NoError(t, r.WriteJSON(&text))
	var read Report
	require.NoError(t, json.Unmarshal(text.Bytes(), &read))
	require.Equal(t, r.Results, read.Results)
	var junit bytes.Buffer
	require.NoError(t, r.WriteJUnit(&junit))
	require.Contains(t, junit.String(), `<testsuite name="copy" tests="2" failures="1" skipped="0">`)
	require.Equal(t, []string{"gone"}, r.Expect(map[string]string{"copy/b": "a known bug", "gone": "nobody knows"}))
	require.True(t, r.OK())
	require.Equal(t, Result{Op: "copy", Case: "b", Status: ExpectedFail, Reason: "a known bug: it is wrong"}, r.Results[1])
	require.Empty(t, r.Expect(map[string]string{"copy/*": "fixed by now"}))
	require.Equal(t, UnexpectedPass, r.Results[0].Status)
	require.False(t, r.OK(), "an entry that is not needed has to go")
}

// Once a plan is made, running it allocates nothing. A child process has the allocator
// of faulty.c in front of the system's.
func TestStepsAllocateNothing(t *testing.T) {
	if runtime.GOOS != "linux" || strings.Contains(os.Getenv("LD_PRELOAD"), "asan") {
		t.Skip("counting allocations needs glibc's allocator")
	}
	if os.Getenv("TRAINER_FAULT") == "allocations" {
		s, err := New(Options{Tier: 1})
		require.NoError(t, err)
		judged(t, load(t, "faulty", os.Getenv("LD_PRELOAD")), s, 2)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestStepsAllocateNothing$")
	child.Env = append(os.Environ(), "TRAINER_FAULT=allocations", "TRAINER_BACKEND="+backendPath(t), "LD_PRELOAD="+buildFaulty(t))
	text, err := child.CombinedOutput()
	require.NoError(t, err, string(text))
}

// buildFaulty compiles testdata/faulty.c.
func buildFaulty(t *testing.T) string {
	t.Helper()
	return buildLiar(t, "faulty")
}

// buildLiar compiles a backend of testdata.
func buildLiar(t *testing.T, name string) string {
	t.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	out := filepath.Join(t.TempDir(), "trainer-backend-"+name+".so")
	text, err := exec.Command(cc, "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-I../abi", "-o", out, "testdata/"+name+".c", "-ldl", "-lpthread", "-lm").CombinedOutput()
	require.NoError(t, err, string(text))
	return out
}
