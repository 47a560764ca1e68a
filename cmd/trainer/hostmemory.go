package main

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// hostMemory is how many bytes the host has and how many of them are free, by the files of a
// Linux system (proc(5), and the memory controllers of control groups, versions 1 and 2); 0
// where they do not say.
func hostMemory(system fs.FS) (total, free int64) {
	total, free = memInfo(system, "MemTotal"), memInfo(system, "MemAvailable")
	for _, group := range memoryGroups(system) {
		most, used := fileBytes(system, group[0]), fileBytes(system, group[1])
		if most > 0 && total > 0 {
			total, free = min(total, most), min(free, max(0, most-used))
		}
	}
	return total, free
}

// memInfo is a line of /proc/meminfo, in bytes.
func memInfo(system fs.FS, name string) int64 {
	text, err := fs.ReadFile(system, "proc/meminfo")
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == name+":" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib * 1024
		}
	}
	return 0
}

// memoryGroups are the files with limit and use of every group this process is in.
func memoryGroups(system fs.FS) (files [][2]string) {
	text, _ := fs.ReadFile(system, "proc/self/cgroup")
	for _, line := range strings.Split(string(text), "\n") {
		if at, ok := strings.CutPrefix(line, "0::"); ok {
			for ; ; at = path.Dir(at) {
				dir := path.Join("sys/fs/cgroup", at)
				files = append(files, [2]string{dir + "/memory.max", dir + "/memory.current"})
				if at == "/" || at == "." {
					break
				}
			}
		}
	}
	return append(files, [2]string{"sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"})
}

// fileBytes is the number in a file; 0 where there is none, or no limit.
func fileBytes(system fs.FS, name string) int64 {
	text, err := fs.ReadFile(system, name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n == math.MaxInt64 {
		return 0
	}
	return n
}
