//go:build !linux

package smalldisk

import "testing"

// Mount skips the test: no file system is mounted here.
func Mount(t *testing.T, size string) string {
	t.Helper()
	t.Skip("a full disk needs the right to mount a file system, which is tried on Linux only")
	return ""
}
