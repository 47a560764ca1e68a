package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/fault"
)

// A crash in a kernel is told with the call, the list and the record in which it happened.
func TestCrashInAKernelHasItsPlace(t *testing.T) {
	r := newLiar(t).run(t, fmt.Sprintf("op %d kernel", abi.OpGlobalNorm), "--self_test", "false")
	require.Equal(t, int(fault.Device), r.code, r.err)
	require.Regexp(t, `^trainer: the worker \(backend liar\) was ended by SIGSEGV.* in timeline_wait, list \d+, record [1-9]\d* before the first step; `, r.err)
}

// What hangs is ended when the time that was given is over.
func TestHangsEnd(t *testing.T) {
	for lie, where := range map[string]string{"submit 20 hang": `in submit, list \d+, record 0`, "never": "in timeline_wait", "timeline_wait 9 hang": "in timeline_wait"} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			r := newLiar(t).run(t, lie)
			require.Equal(t, int(fault.Device), r.code, r.err)
			require.Regexp(t, `^trainer: the worker \(backend liar\) hangs: no progress for 2s `+where+` (before the first|after) step.*--call_timeout\n$`, r.err)
			require.Less(t, r.took, 15*time.Second)
		})
	}
}

// A device that is lost ends the run at once, and the last checkpoint goes on with another
// backend to what an undisturbed run gives.
func TestLostDeviceLeavesTheLastCheckpoint(t *testing.T) {
	l := newLiar(t)
	out := filepath.Join(t.TempDir(), "out")
	more := []string{"--output_dir", out, "--save_steps", "1", "--resume", "auto", "--self_test", "false"}
	lost := l.run(t, "submit 700 device-lost", more...)
	require.Equal(t, int(fault.Device), lost.code, lost.err)
	require.Equal(t, "trainer: backend liar: submit: device lost: so it says\n", lost.err)
	require.Less(t, lost.took, 20*time.Second)
	kept, err := filepath.Glob(filepath.Join(out, "checkpoint-*"))
	require.NoError(t, err)
	require.NotEmpty(t, kept, "the device was lost before the first checkpoint")
	good := l.run(t, "none", more...)
	require.Equal(t, 0, good.code, good.err)
	whole := filepath.Join(t.TempDir(), "whole")
	require.Equal(t, 0, l.run(t, "none", "--output_dir", whole).code)
	require.Equal(t, weightFiles(t, whole), weightFiles(t, out))
}
