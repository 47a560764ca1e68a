package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/op"
	"trainer/fault"
)

// lie is one way in which core/plugin/testdata/liar.c may lie, as its TRAINER_LIE says.
type lie struct {
	text     string
	harmless bool // the host may go on: nothing it relies on is wrong
	memory   bool // the host may call it a matter of memory
}

// The functions of a backend as they are called in a run, query included.
var liarCalls = strings.Fields(`query shutdown device_count device_info device_open device_close query_ops buffer_alloc buffer_free queue_create
	queue_destroy list_check submit timeline_create timeline_destroy timeline_read timeline_wait device_stats plan_create plan_destroy queue_progress`)

// liarFields are values that no honest backend writes there; a leading ! marks values that
// an honest one might, or that nothing depends on, ~ what may be taken for a lack of memory.
var liarFields = map[string]string{
	"reply.struct_size": "0 4 8 15 65537 4294967295", "reply.abi_major": "1 99", "reply.abi_minor": "4 4294967295", "reply.table": "0 1 4096 1193984",
	"table.struct_size":   "0 8 64 135 1048576 4294967295",
	"info.struct_size":    "0 8 1048576",
	"info.device_class":   "0 4 4294967295",
	"info.flags":          "!0 !4294967295",
	"info.numerics":       "3 4294967295",
	"info.memory_total":   "0 ~1 9223372036854775808 18446744073709551615",
	"info.memory_free":    "!0 ~1 18446744073709551615",
	"info.buffer_max":     "0 ~1 !18446744073709551615",
	"info.list_bytes_max": "1 !0 !18446744073709551615",
	"info.storage_dtypes": "0 4 !2 !18446744073709551615", "info.compute_dtypes": "!0 !18446744073709551615",
	"info.alignment": "0 3 5000 8192 4294967295 !1 !4096", "info.lanes": "0 4294967295 !2",
	"info.tile_m": "!0 !4294967295", "info.tile_n": "!4294967295", "info.tile_k": "!4294967295", "info.threads": "!4294967295",
	"info.name": "120 255 !0", "info.uuid": "120 255 !0", "info.isa": "120 255 !0",
	"answer.level": "3 4294967295 !0 !1", "answer.deterministic": "!0 !4294967295", "answer.struct_size": "!0",
	"buffer.handle": "0 1", "buffer.host_pointer": "0 1 4096 18446744073709551615", "buffer.struct_size": "!0 !4294967295",
	"report.struct_size": "!0 !4294967295", "report.bad_record": "0 5", "report.workspace_bytes": "!1 ~1099511627776 18446744073709551615",
	"report.plan_bytes": "!0 ~1099511627776 18446744073709551615",
	"plan.handle":       "0 1", "plan.bytes": "!0 18446744073709551615", "plan.struct_size": "!0",
	"stats.struct_size": "!0", "stats.memory_used": "18446744073709551615", "stats.memory_peak": "18446744073709551615",
	"count": "0 2 1025 4294967295", "device": "0 1", "queue": "0 1", "timeline": "0 1", "value": "0 !18446744073709551615", "counter": "!0 !18446744073709551615",
}

// lies lists them all.
func lies() (all []lie) {
	say := func(format string, args ...any) *lie {
		all = append(all, lie{text: fmt.Sprintf(format, args...)})
		return &all[len(all)-1]
	}
	for _, field := range slices.Sorted(maps.Keys(liarFields)) {
		for _, value := range strings.Fields(liarFields[field]) {
			l := say("set %s %s", field, strings.TrimLeft(value, "!~"))
			l.harmless, l.memory = value[0] == '!', value[0] == '~'
		}
	}
	for _, call := range liarCalls[1:] {
		optional := call == "device_stats" || call == "plan_create" || call == "plan_destroy" || call == "queue_progress"
		say("set table.%s 0", call).harmless = optional
	}
	for _, name := range strings.Fields("reply info buffer report plan stats count device queue timeline value") {
		say("over %s", name)
	}
	for _, name := range strings.Fields("buffer.handle plan.handle timeline queue") {
		say("twin %s", name)
	}
	for _, call := range liarCalls {
		for _, k := range []int{1, 3} {
			for _, status := range []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9, 77, 0xFFFFFFFF} {
				l := say("%s %d status %d", call, k, status)
				l.memory = status == 4
				// A policy that finds no memory gives way to another, a full queue is tried again,
				// and a timeline may fail behind a value it reached.
				l.harmless = status == 4 && (call == "query_ops" || call == "list_check") || status == 8 && call == "submit" && k > 1 ||
					call == "timeline_read" && status != 6
			}
			for _, end := range strings.Fields("crash abort exit") {
				say("%s %d %s", call, k, end)
			}
		}
		say("%s 1 hang", call)
		say("%s 2 text 7", call).harmless = call == "timeline_read"
		say("%s 2 over 7", call)
		say("%s 2 device-lost", call)
	}
	for _, f := range op.Families() {
		for _, how := range strings.Fields("value last nan before after input none refused") {
			say("op %d %s", uint32(f.Op), how)
		}
	}
	say("early")
	say("never")
	return all
}

// chosenLies is how many of the lies are told: all where TRAINER_LIARS is all.
func chosenLies(t *testing.T) (chosen []lie) {
	every := 24
	if testing.Short() {
		every = 120
	}
	if os.Getenv("TRAINER_LIARS") == "all" {
		every = 1
	}
	all := lies()
	require.Greater(t, len(all), 200)
	for i := 0; i < len(all); i += every {
		chosen = append(chosen, all[i])
	}
	return chosen
}

// liar is the built library and a model, data and flags for a run that takes a moment.
type liar struct {
	file, works string
	args        []string
	output      string // the flag for where a run writes
}

func newLiar(t *testing.T) liar {
	t.Helper()
	l := liar{file: filepath.Join(t.TempDir(), "trainer-backend-liar.so"), works: realBackend(t), output: "--output_dir"}
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("needs a C compiler")
	}
	text, err := exec.Command(cc, "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-I../../core/abi",
		"-o", l.file, "../../core/plugin/testdata/liar.c", "-ldl").CombinedOutput()
	require.NoError(t, err, string(text))
	data := write(t, filepath.Join(t.TempDir(), "tiny.jsonl"), strings.Repeat("{\"text\":\"one two three four five\"}\n", 12))
	l.args = []string{"--quiet", "--model_name", demoFile(t, "model"), "--dataset", data, "--batch_size", "2", "--context_length", "32", "--train_type", "lora",
		"--lora_rank", "2", "--precision", "fp32", "--threads", "1", "--backend", "liar", "--backend_path", l.file, "--call_timeout", "2"}
	return l
}

// told is how a run with a lie went.
type told struct {
	ran
	told bool // the lie was told at all
	took time.Duration
}

// run trains with a lie.
func (l liar) run(t *testing.T, text string, more ...string) (r told) {
	t.Helper()
	home := t.TempDir()
	mark := filepath.Join(home, "told")
	cmd := exec.Command(executable(t), append(append(append([]string{}, l.args...), l.output, filepath.Join(home, "out")), more...)...)
	cmd.Env = []string{"HOME=" + home, "TMPDIR=" + home, "TRAINER_LIAR=" + l.works, "TRAINER_LIE=" + text, "TRAINER_LIE_TOLD=" + mark}
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	began := time.Now()
	_ = cmd.Run()
	_, err := os.Stat(mark)
	return told{ran{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}, err == nil, time.Since(began)}
}

// judge says what is wrong with how a lie was taken; empty for nothing.
func (r told) judge(l lie) string {
	sentence := strings.TrimSpace(r.err)
	switch {
	case strings.Contains(r.err, "goroutine ") || r.code < 0 || r.code > int(fault.Disk):
		return "the launcher broke"
	case r.code == 0 && (!r.told || l.harmless):
		return ""
	case r.code == 0:
		return "it was told, and nobody noticed"
	case !r.told:
		return "a run without a lie failed"
	case r.code != int(fault.Device) && !(r.code == int(fault.Memory) && l.memory):
		return "another exit code was expected"
	case r.code == int(fault.Device) && (!strings.HasPrefix(sentence, "trainer: ") || strings.Count(sentence, "\n") > 0 || !strings.Contains(sentence, "liar")):
		return "expected one sentence that names the backend"
	}
	return ""
}

// Whatever a backend lies about, the program ends with one sentence about it, or trains.
func TestLiars(t *testing.T) {
	l := newLiar(t)
	var wait sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[string]int{}
	slots := make(chan struct{}, runtime.NumCPU())
	for _, lie := range append(chosenLies(t), lie{text: "none"}) {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r := l.run(t, lie.text)
			wrong := r.judge(lie)
			mu.Lock()
			defer mu.Unlock()
			assert.Empty(t, wrong, "%s: exit code %d after %s, told: %t: %s", lie.text, r.code, r.took, r.told, r.err)
			outcomes[fmt.Sprintf("%s exit code %d told %t", strings.Fields(lie.text)[0], r.code, r.told)]++
		})
	}
	wait.Wait()
	for _, k := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%5d %s", outcomes[k], k)
	}
}

// Times of records that cannot be are no profile.
func TestLiarsAboutTimes(t *testing.T) {
	l := newLiar(t)
	l.output = "--profiling_output"
	l.args = []string{"bench", "--model_name", demoFile(t, "model"), "--batch_size", "2", "--context_length", "32", "--train_type", "lora", "--lora_rank", "2",
		"--precision", "fp32", "--threads", "1", "--max_steps", "1", "--profile", "--quiet", "--backend", "liar", "--backend_path", l.file}
	for lie, says := range map[string]string{"times none": "left out time 0", "times back": "go back", "times over": "beyond the end", "set info.flags 16": "", "set info.flags 0": ""} {
		r := l.run(t, lie)
		assert.True(t, r.told, lie)
		assert.Equal(t, says != "", r.code == int(fault.Device), "%s: %s", lie, r.err)
		assert.Contains(t, r.err, says, lie)
	}
}
