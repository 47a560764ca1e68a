package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trainer/core/plugin"
	"trainer/fault"
	"trainer/training/metrics"
)

// TestMain makes the test binary a worker, a launcher and the child that tries a backend,
// as the program is.
func TestMain(m *testing.M) {
	if plugin.RunProbeIfChild() || runCheckIfChild() {
		return
	}
	if len(os.Args) == 2 && os.Args[1] == workerArg {
		runWorker(testJobs)
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "launch" {
		_, err := launch(Job{Command: os.Args[2]}, func(event) error {
			fmt.Println("an event") // to a reader that may be gone
			return nil
		})
		os.Exit(exitCode(err))
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// testJobs are workers that behave, and workers that do not.
var testJobs = work{
	"steps": func(ctx context.Context, job Job, e Events) (Result, error) {
		return testSteps(ctx, job, e, 3)
	},
	"long": func(ctx context.Context, job Job, e Events) (Result, error) {
		return testSteps(ctx, job, e, 1<<20)
	},
	"refuses": func(context.Context, Job, Events) (Result, error) {
		return Result{}, &fault.Error{Kind: fault.Files, Where: "config.json", Found: "1", Want: "2"}
	},
	"fails": func(context.Context, Job, Events) (Result, error) { return Result{}, errors.New("a graph without end") },
	"panics": func(context.Context, Job, Events) (Result, error) {
		return Result{}, []error{nil}[len(os.Args)]
	},
	"panics aside": func(context.Context, Job, Events) (Result, error) {
		go func() { panic("aside") }()
		time.Sleep(time.Minute)
		return Result{}, nil
	},
	"train": testTraining,
	"exits": func(_ context.Context, _ Job, e Events) (Result, error) {
		_ = e.Step(metrics.Step{Step: 7})
		os.Exit(0)
		return Result{}, nil
	},
	"is killed": func(_ context.Context, _ Job, e Events) (Result, error) {
		_ = e.Step(metrics.Step{Step: 7})
		return Result{}, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	},
	"loads": func(_ context.Context, job Job, e Events) (Result, error) {
		_ = e.Step(metrics.Step{Step: 7})
		_, err := plugin.Load("foo", job.ModelDir)
		return Result{}, err
	},
	"hangs": func(context.Context, Job, Events) (Result, error) {
		for {
			time.Sleep(time.Hour)
		}
	},
	"hangs and tells": func(_ context.Context, _ Job, _ Events) (Result, error) {
		err := os.WriteFile(os.Getenv("TEST_PID_FILE"), []byte(strconv.Itoa(os.Getpid())), 0o600)
		time.Sleep(time.Hour)
		return Result{}, err
	},
	"floods": func(context.Context, Job, Events) (Result, error) {
		frame := binary.LittleEndian.AppendUint32(nil, 1<<31)
		return Result{}, writeEvents(append(frame, make([]byte, 4<<20)...))
	},
	"babbles": func(context.Context, Job, Events) (Result, error) {
		return Result{}, writeEvents([]byte("\x05\x00\x00\x00hello"))
	},
	"breaks off": func(context.Context, Job, Events) (Result, error) {
		_, _ = os.NewFile(eventsFD, "events").Write([]byte("\x05\x00\x00\x00he"))
		os.Exit(0)
		return Result{}, nil
	},
	"leaves a child": func(_ context.Context, _ Job, e Events) (Result, error) {
		err := (&exec.Cmd{Path: "/bin/sleep", Args: []string{"sleep", "100"}, Stdout: os.Stdout, ExtraFiles: []*os.File{os.NewFile(eventsFD, "")}}).Start()
		return Result{End: metrics.End{Steps: 1}}, err
	},
	"stays": func(context.Context, Job, Events) (Result, error) {
		go func() {
			time.Sleep(50 * time.Millisecond)
		}()
		return Result{}, errors.Join(writeFinal(), blockForever())
	},
}

// testTraining says what a training run says. One of seed 0 breaks off.
func testTraining(ctx context.Context, job Job, e Events) (Result, error) {
	say := []error{
		e.Log("loading"),
		e.Plan(PlanReport{Total: 1 << 30, Limit: 2 << 30, Precision: "fp32", Recompute: "none", Kinds: []PlanBytes{{"weights", 1 << 29}, {"nothing", 0}}}),
		e.Start(Start{Start: metrics.Start{Model: "a/tiny", Parameters: 1000, TrainableParameters: 10, NativeOps: []string{"linear"}}, Steps: 2, Config: job.Config}),
		e.Eval(metrics.Eval{Loss: 4, LabelledTokens: 9}),
		e.Step(metrics.Step{Step: 1, Loss: 3}),
	}
	if job.Config.Seed == 0 {
		os.Exit(0)
	}
	say = append(say, e.Step(metrics.Step{Step: 2, Loss: 2}), e.Eval(metrics.Eval{Step: 2, Loss: 2}), e.Answer(Answer{Text: "a"}), e.Saved(job.Config.OutputDir))
	return Result{End: metrics.End{Steps: 2, Loss: 2, MemoryPeakBytes: 1 << 29, MemoryPlannedBytes: 1 << 30}, Interrupted: ctx.Err() != nil}, errors.Join(say...)
}

// testSteps trains n steps, so to say, and stops as it should.
func testSteps(ctx context.Context, job Job, e Events, n int) (Result, error) {
	if err := e.Start(Start{Start: metrics.Start{Model: "m"}, Steps: n, Config: job.Config}); err != nil {
		return Result{}, err
	}
	done := 0
	for done < n && ctx.Err() == nil {
		done++
		if err := e.Step(metrics.Step{Step: done, Loss: 1}); err != nil {
			return Result{}, err
		}
		if n > 10 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	err := e.Saved("OUT")
	return Result{Interrupted: ctx.Err() != nil, End: metrics.End{Steps: done}}, err
}

func writeEvents(raw []byte) error {
	_, err := os.NewFile(eventsFD, "events").Write(raw)
	time.Sleep(time.Minute)
	return err
}

func writeFinal() error {
	return (&frames{out: os.NewFile(eventsFD, "events")}).send(event{Final: &final{}})
}

func blockForever() error {
	time.Sleep(time.Hour)
	return nil
}

// built is the program, built once for all tests that run it.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// executable is the path of the program.
func executable(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "trainer-test-*"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", filepath.Join(built.dir, "bin", "trainer"), ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		var text []byte
		if text, built.err = build.CombinedOutput(); built.err != nil {
			built.err = errors.New(string(text))
		}
	})
	require.NoError(t, built.err)
	return filepath.Join(built.dir, "bin", "trainer")
}

// ran is how a run of the program went.
type ran struct {
	code     int
	out, err string
}

// trainer runs the program in a folder of its own, without a user's folders and variables.
func trainer(t testing.TB, args ...string) ran {
	t.Helper()
	return trainerWith(t, nil, args...)
}

// trainerWith does so with more variables.
func trainerWith(t testing.TB, variables []string, args ...string) ran {
	t.Helper()
	home := t.TempDir()
	cmd := exec.Command(executable(t), args...)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + home}
	cmd.Env = append(cmd.Env, variables...)
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	r := ran{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
	require.NotContains(t, r.err, "goroutine ", "a trace reached a person")
	return r
}

// refused runs the program and expects an exit code and one sentence.
func refused(t *testing.T, code fault.Kind, sentence string, args ...string) {
	t.Helper()
	r := trainer(t, args...)
	require.Equal(t, "trainer: "+sentence+"\n", r.err)
	require.Equal(t, int(code), r.code)
	require.Empty(t, r.out)
}
