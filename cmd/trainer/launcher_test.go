package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/plugin"
	"trainer/fault"
)

// testLaunch runs a test job with a backend's name and returns what was shown too.
func testLaunch(t *testing.T, job Job, each func(event) error) (Result, []event, error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	job.Device = DeviceChoice{Choice: plugin.Choice{Candidate: plugin.Candidate{Name: "foo", Path: "/foo"}}}
	var shown []event
	began := time.Now()
	result, err := launch(job, func(e event) error {
		shown = append(shown, e)
		if each != nil {
			return each(e)
		}
		return nil
	})
	assert.Less(t, time.Since(began), 9*time.Second)
	return result, shown, err
}

func TestWorkerReportsItsRun(t *testing.T) {
	c := testConfig(t)
	result, shown, err := testLaunch(t, Job{Command: "steps", Config: c}, nil)
	require.NoError(t, err)
	assert.Equal(t, 3, result.End.Steps)
	require.Len(t, shown, 5)
	assert.Equal(t, "m", shown[0].Start.Model)
	assert.Equal(t, c, shown[0].Start.Config)
	assert.Equal(t, 3, shown[3].Step.Step)
	assert.Equal(t, "OUT", shown[4].Saved)
}

// TestWorkerFaults holds one sentence for each way a worker can end badly.
func TestWorkerFaults(t *testing.T) {
	for job, want := range map[string]struct {
		kind     fault.Kind
		sentence string
	}{
		"refuses":      {fault.Files, "config.json: found 1, expected 2"},
		"fails":        {fault.Bug, "a bug in trainer: a graph without end; please report it with the file "},
		"panics":       {fault.Bug, "a bug in trainer: runtime error: index out of range [2] with length 1; please report it with the file "},
		"panics aside": {fault.Bug, "a bug in trainer: the worker (backend foo) broke before the first step; please report it with the file "},
		"no such job":  {fault.Bug, `a bug in trainer: no worker does "no such job"; please report it with the file `},
		"exits":        {fault.Device, "the worker (backend foo) ended with status 0 and no final record after step 7; try another --backend, or report it to who made this one"},
		"breaks off":   {fault.Device, "the worker (backend foo) sent what is no message before the first step: the stream ends within a message"},
		"is killed":    {fault.Memory, "the worker (backend foo) was killed (SIGKILL), as systems do when memory runs out after step 7; lower --batch_size or --context_length"},
		"floods":       {fault.Device, "the worker (backend foo) sent what is no message before the first step: a message of 2147483648 bytes, expected at most 1048576"},
		"babbles":      {fault.Device, "the worker (backend foo) sent what is no message before the first step: decode a message: "},
	} {
		t.Run(job, func(t *testing.T) {
			_, _, err := testLaunch(t, Job{Command: job}, nil)
			require.Error(t, err)
			assert.Contains(t, err.Error(), want.sentence)
			assert.Equal(t, int(want.kind), exitCode(err))
			if _, file, is := strings.Cut(err.Error(), "with the file "); is {
				report, err := os.ReadFile(file)
				require.NoError(t, err)
				assert.Contains(t, string(report), "trainer "+version)
			}
		})
	}
}

// TestNativeCrash loads a library that breaks as it is loaded.
func TestNativeCrash(t *testing.T) {
	for name, want := range map[string]string{
		"*(volatile int *)0 = 1;":              "was ended by SIGSEGV outside of trainer's own code",
		"__builtin_trap();":                    "was ended by SIGILL outside of trainer's own code",
		"abort();":                             "was ended by SIGABRT outside of trainer's own code",
		"_exit(0);":                            "ended with status 0 and no final record",
		"puts(\"noise\"); _exit(3);":           "ended with status 3 and no final record",
		"signal(11, SIG_DFL); raise(SIGSEGV);": "was ended by SIGSEGV",
	} {
		library := compile(t, "#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n"+
			"__attribute__((constructor)) static void breaks(void) { "+name+" }\n")
		_, _, err := testLaunch(t, Job{Command: "loads", ModelDir: library}, nil)
		require.Error(t, err)
		assert.Contains(t, err.Error(), "the worker (backend foo) "+want, name)
		assert.Contains(t, err.Error(), "after step 7")
		assert.Equal(t, int(fault.Device), exitCode(err))
	}
}

// compile makes a library of C source.
func compile(t *testing.T, source string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("needs a C compiler")
	}
	dir := t.TempDir()
	file, library := filepath.Join(dir, "x.c"), filepath.Join(dir, "x.so")
	require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
	text, err := exec.Command(cc, "-shared", "-fPIC", "-O0", "-o", library, file).CombinedOutput()
	require.NoError(t, err, string(text))
	return library
}

func TestSignalsStopInGoodOrder(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1} {
		result, shown, err := testLaunch(t, Job{Command: "long", Config: testConfig(t)}, func(e event) error {
			if e.Step != nil && e.Step.Step == 2 {
				return syscall.Kill(os.Getpid(), s)
			}
			return nil
		})
		var ended *stopped
		require.ErrorAs(t, err, &ended)
		assert.Equal(t, 128+int(s), exitCode(err))
		assert.True(t, result.Interrupted)
		last := shown[len(shown)-2].Step.Step
		assert.Equal(t, last, result.End.Steps, "the step under way was finished")
		assert.EqualError(t, err, "ended by "+signalName(s)+" after step "+strconv.Itoa(last)+"; what was trained so far is saved in OUT")
	}
}

func TestSecondSignalKills(t *testing.T) {
	t.Setenv("TEST_PID_FILE", filepath.Join(t.TempDir(), "pid"))
	go func() {
		waitForPid(t)
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		time.Sleep(100 * time.Millisecond)
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
	}()
	_, _, err := testLaunch(t, Job{Command: "hangs and tells"}, nil)
	assert.EqualError(t, err, "ended at once by a second signal, SIGINT, before the first step")
	assert.Equal(t, 130, exitCode(err))
	gone(t, waitForPid(t))
}

// TestWorkerDiesWithItsLauncher kills a launcher that can do nothing about it.
func TestWorkerDiesWithItsLauncher(t *testing.T) {
	t.Setenv("TEST_PID_FILE", filepath.Join(t.TempDir(), "pid"))
	launcher := exec.Command(os.Args[0], "launch", "hangs and tells")
	require.NoError(t, launcher.Start())
	pid := waitForPid(t)
	require.NoError(t, launcher.Process.Kill())
	_ = launcher.Wait()
	gone(t, pid)
}

// TestReaderOfOurLinesIsGone is `trainer | tee log` and Ctrl-C, which ends tee first.
func TestReaderOfOurLinesIsGone(t *testing.T) {
	launcher := exec.Command(os.Args[0], "launch", "long")
	out, err := launcher.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, launcher.Start())
	_, err = out.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, out.Close())
	time.Sleep(50 * time.Millisecond)
	require.NoError(t, launcher.Process.Signal(syscall.SIGINT))
	_ = launcher.Wait()
	assert.Equal(t, 130, launcher.ProcessState.ExitCode())
}

// waitForPid reads the number a worker wrote.
func waitForPid(t *testing.T) int {
	for range 500 {
		text, _ := os.ReadFile(os.Getenv("TEST_PID_FILE"))
		if pid, err := strconv.Atoi(string(text)); err == nil {
			return pid
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no worker wrote its number")
	return 0
}

// gone waits until a process is no more.
func gone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) }, 5*time.Second, 10*time.Millisecond)
}

// zombie tells whether a process has ended and only its parent does not know yet.
func zombie(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(text), ") Z ")
}

func TestShowMayEndARun(t *testing.T) {
	full := fault.New(fault.Disk, "metrics.jsonl: no space left on device")
	_, shown, err := testLaunch(t, Job{Command: "long", Config: testConfig(t)}, func(e event) error {
		if e.Step != nil {
			return full
		}
		return nil
	})
	assert.Equal(t, full, err)
	assert.Len(t, shown, 2, "nothing is shown after the failure")
}

func TestWhatWorkersLeaveBehind(t *testing.T) {
	result, _, err := testLaunch(t, Job{Command: "leaves a child"}, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, result.End.Steps)
	_, _, err = testLaunch(t, Job{Command: "stays"}, nil)
	require.NoError(t, err, "a worker that does not leave is killed")
}

func TestJobsHaveABound(t *testing.T) {
	_, _, err := testLaunch(t, Job{Command: "steps", Prompts: []Prompt{{Text: strings.Repeat("x", maxFrame)}}}, nil)
	assert.ErrorContains(t, err, "expected at most 1048576")
}

func TestWorkerIsNotStartedByHand(t *testing.T) {
	r := trainer(t, workerArg)
	assert.Equal(t, int(fault.Usage), r.code)
	assert.Equal(t, "trainer: a worker is started by trainer, not by hand\n", r.err)
}
