package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/conformance"
	"trainer/core/dump"
	"trainer/core/plugin"
	"trainer/fault"
)

// recordedStep records the second step of a short run.
func recordedStep(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "step.zip")
	newRealRun(t, "qlora", "--batch_size", "1", "--dataset_samples", "2", "--record", path, "--record_step", "2").train(t)
	return path
}

// A recorded step is right on the backend that recorded it, and on one that composes it. Of a
// backend with one wrong op its first record is found.
func TestReplayFindsTheWrongRecord(t *testing.T) {
	t.Parallel()
	step := recordedStep(t)
	good := realBackend(t)
	r := trainer(t, "backend", "replay", step, "--backend", "foo", "--backend_path", filepath.Dir(good), "--json")
	require.Equal(t, 0, r.code, r.err)
	var right conformance.Replayed
	require.NoError(t, json.Unmarshal([]byte(r.out), &right))
	require.Nil(t, right.Finding)
	require.Greater(t, right.Records, 100)
	require.Less(t, right.Share, 1.0)
	require.Empty(t, right.Composed)
	require.Len(t, right.Times, right.Records)
	for _, took := range right.Times {
		require.Positive(t, took.Seconds, took.Op)
	}

	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("needs a C compiler")
	}
	faulty := filepath.Join(t.TempDir(), plugin.FileName("faulty"))
	text, err := exec.Command("cc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-I../../core/abi", "-o", faulty,
		"../../core/conformance/testdata/faulty.c", "-ldl").CombinedOutput()
	require.NoError(t, err, string(text))
	cmd := exec.Command(executable(t), "backend", "replay", step, "--backend", "faulty", "--backend_path", faulty, "--json")
	cmd.Env = append(os.Environ(), "TRAINER_BACKEND="+good, "TRAINER_FAULT=value", "TRAINER_FAULT_OP=0x130")
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	require.Error(t, cmd.Run())
	require.Equal(t, int(fault.Device), cmd.ProcessState.ExitCode(), stderr.String())
	var wrong conformance.Replayed
	require.NoError(t, json.Unmarshal([]byte(out.String()), &wrong))
	require.Equal(t, "rope", wrong.Finding.Op)
	require.Equal(t, firstOf(t, step, "rope"), [2]uint64{wrong.Finding.List, uint64(wrong.Finding.Record)})
	require.Contains(t, stderr.String(), "(rope): backend faulty: ")
}

func TestReplayRefuses(t *testing.T) {
	dir := filepath.Dir(realBackend(t))
	file := write(t, filepath.Join(t.TempDir(), "no.zip"), "hello")
	r := trainer(t, "backend", "replay", file, "--backend_path", dir)
	require.Equal(t, int(fault.Files), r.code)
	require.Contains(t, r.err, "trainer: "+file+": no recorded step: ")
	refused(t, fault.Usage, "--record_step: found 0, expected a whole number of at least 1", "--model_name", "m", "--record", "x", "--record_step", "0")
	refused(t, fault.Usage, "DUMP is missing: the file that trainer --record wrote", "backend", "replay")
}

// firstOf is the serial of the list and the index of the first record of an op.
func firstOf(t *testing.T, path, name string) [2]uint64 {
	t.Helper()
	d, err := dump.Read(path)
	require.NoError(t, err)
	for _, e := range d.Events {
		if e.List == nil {
			continue
		}
		h, records, err := abi.DecodeList(e.List)
		require.NoError(t, err)
		for i, r := range records {
			if abi.Op(r.Op).String() == name {
				return [2]uint64{h.Serial, uint64(i)}
			}
		}
	}
	t.Fatalf("no %s was recorded", name)
	return [2]uint64{}
}
