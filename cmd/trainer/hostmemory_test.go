package main

import (
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestHostMemory(t *testing.T) {
	system := fstest.MapFS{}
	put := func(name, text string) { system[name] = &fstest.MapFile{Data: []byte(text)} }
	has := func(wantTotal, wantFree int64, what string) {
		total, free := hostMemory(system)
		require.Equal(t, [2]int64{wantTotal, wantFree}, [2]int64{total, free}, what)
	}
	has(0, 0, "nothing is said")
	put("proc/meminfo", "MemTotal:        100 kB\nMemFree:          10 kB\nMemAvailable:     80 kB\n")
	has(100<<10, 80<<10, "no groups")
	put("proc/self/cgroup", "0::/job/step\n")
	put("sys/fs/cgroup/job/step/memory.max", "max\n")
	put("sys/fs/cgroup/job/memory.max", "61440\n")
	put("sys/fs/cgroup/job/memory.current", "20480\n")
	has(60<<10, 40<<10, "a group above")
	put("sys/fs/cgroup/memory/memory.limit_in_bytes", "40960\n")
	put("sys/fs/cgroup/memory/memory.usage_in_bytes", "45056\n")
	has(40<<10, 0, "version 1, used up")
}

// On a real system there is less free than in all, and both are known.
func TestHostMemoryHere(t *testing.T) {
	if _, err := os.Stat("/proc/meminfo"); err != nil {
		t.Skip("there is no /proc/meminfo")
	}
	total, free := hostMemory(os.DirFS("/"))
	require.Positive(t, free)
	require.GreaterOrEqual(t, total, free)
}
