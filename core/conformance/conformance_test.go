package conformance

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/op"
	"trainer/core/plugin"
)

// backendPath is the file that TRAINER_BACKEND names, else the CPU backend of this tree's
// build.
func backendPath(t testing.TB) string {
	t.Helper()
	path := os.Getenv("TRAINER_BACKEND")
	if path == "" {
		path = filepath.Join("..", "..", "build", "lib", "trainer", "backends", "trainer-backend-cpu.so")
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	return path
}

func isCPU(t testing.TB) bool {
	return strings.HasPrefix(filepath.Base(backendPath(t)), "trainer-backend-cpu.")
}

// load opens a backend's file.
func load(t testing.TB, name, path string) *plugin.Backend {
	t.Helper()
	b, err := plugin.Load(name, path)
	require.NoError(t, err, "make native builds it")
	return b
}

// judged runs a suite on a device opened for it, where equal runs give equal bits.
func judged(t testing.TB, b *plugin.Backend, s *Suite, threads uint32) *Report {
	t.Helper()
	return judgedAs(t, b, s, plugin.DeviceOptions{Deterministic: true, Threads: threads})
}

func judgedAs(t testing.TB, b *plugin.Backend, s *Suite, options plugin.DeviceOptions) *Report {
	t.Helper()
	dev, err := b.OpenDevice(0, options)
	require.NoError(t, err)
	report, err := s.Run(dev)
	require.NoError(t, err)
	require.NoError(t, dev.Close())
	if !report.OK() {
		t.Error(report.failures())
	}
	return report
}

// isas are the instruction sets of the CPU backend, the best last.
var isas = []string{"scalar", "neon", "avx2", "avx512", "avx512bf16"}

// Every case passes on a backend other than the CPU's, as fast as it can and with equal
// bits in equal runs.
func TestOtherBackend(t *testing.T) {
	if isCPU(t) {
		t.Skip("TRAINER_BACKEND names no other backend")
	}
	b := load(t, "other", backendPath(t))
	s, err := New(Options{Tier: 1})
	require.NoError(t, err)
	judgedAs(t, b, s, plugin.DeviceOptions{})
	first, again := judged(t, b, s, 0), judged(t, b, s, 0)
	for i, res := range again.Results {
		require.Equal(t, first.Results[i].Digest, res.Digest, "%s/%s in a second run", res.Op, res.Case)
	}
	t.Logf("%s: %d cases pass, %d ops are composed", first.ISA, first.Count(Pass), first.Count(Unsupported))
}

// Every case passes in every instruction set of this machine, and the number of threads
// changes no bit.
func TestBackend(t *testing.T) {
	if !isCPU(t) {
		t.Skip("TRAINER_BACKEND names another backend")
	}
	b := load(t, "cpu", backendPath(t))
	s, err := New(Options{Tier: 1})
	require.NoError(t, err)
	for _, isa := range isas {
		t.Run(isa, func(t *testing.T) {
			t.Setenv("TRAINER_CPU_ISA", isa)
			if _, err := b.Devices(); err != nil {
				t.Skip("this processor is without it: ", err)
			}
			first := judged(t, b, s, 3)
			require.Equal(t, isa, first.ISA)
			if testing.Short() {
				return
			}
			for threads := uint32(1); threads < 3; threads++ {
				again := judged(t, b, s, threads)
				for i, res := range again.Results {
					require.Equal(t, first.Results[i].Digest, res.Digest, "%s/%s with %d threads", res.Op, res.Case, threads)
				}
			}
		})
	}
}

// The composition of every fused op passes too, on the device's mandatory ops.
func TestCompositions(t *testing.T) {
	if testing.Short() {
		t.Skip("the mandatory ops they are made of are judged by themselves")
	}
	s, err := New(Options{Tier: 1, Compose: true})
	require.NoError(t, err)
	s.cases = slices.DeleteFunc(s.cases, func(c Case) bool { return tier(c.Op) == 0 })
	judged(t, load(t, "cpu", backendPath(t)), s, 2)
}

// The null backend claims no op: each is named as missing.
func TestNull(t *testing.T) {
	b := load(t, "null", filepath.Join("..", "..", "build", "cmake", "trainer-backend-null.so"))
	dev, err := b.OpenDevice(0, plugin.DeviceOptions{})
	require.NoError(t, err)
	report, err := Run(dev, Options{Tier: 0})
	require.NoError(t, err)
	require.NoError(t, dev.Close())
	require.False(t, report.OK())
	for _, res := range report.Results {
		require.Equal(t, Fail, res.Status)
		require.Contains(t, res.Reason, "not claimed, but the op is mandatory")
	}
}

// A backend exports the two symbols of the border and nothing else.
func TestExports(t *testing.T) {
	file, err := elf.Open(backendPath(t))
	if err != nil {
		t.Skip("not an ELF file: ", err)
	}
	defer file.Close()
	symbols, err := file.DynamicSymbols()
	require.NoError(t, err)
	var exported []string
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF && s.Section != elf.SHN_ABS && elf.ST_BIND(s.Info) != elf.STB_LOCAL {
			exported = append(exported, s.Name)
		}
	}
	require.ElementsMatch(t, []string{"trainer_backend_query_v1", "trainer_backend_manifest"}, exported)
}

// Every op has cases, and a case is named by what it is.
func TestCases(t *testing.T) {
	seen, ops := map[string]bool{}, map[string]bool{}
	for _, c := range Cases() {
		assert.False(t, seen[c.Op+"/"+c.Name], "two cases are named %s/%s", c.Op, c.Name)
		seen[c.Op+"/"+c.Name], ops[c.Op] = true, true
	}
	timed := map[string]bool{}
	for _, c := range Benchmarks() {
		timed[c.Op] = true
	}
	for _, f := range op.Families() {
		assert.True(t, ops[f.Name], "%s has no case", f.Name)
		assert.True(t, timed[f.Name], "%s has no benchmark", f.Name)
	}
}

// go test -bench Ops ./core/conformance: every op against what bounds it.
func BenchmarkOps(b *testing.B) {
	dev, err := load(b, "cpu", backendPath(b)).OpenDevice(0, plugin.DeviceOptions{})
	require.NoError(b, err)
	for _, bench := range Benchmarks() {
		b.Run(bench.Op+"/"+bench.Name, func(b *testing.B) {
			timing, err := Bench(dev, bench, time.Second)
			require.NoError(b, err)
			b.ReportMetric(timing.FLOPs/timing.Seconds/1e9, "GFLOP/s")
			b.ReportMetric(timing.Bytes/timing.Seconds/1e9, "GB/s")
			b.ReportMetric(timing.Seconds*1e3, "ms")
		})
	}
}
