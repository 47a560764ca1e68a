package smalldisk

import (
	"syscall"
	"testing"
)

// Mount returns the path of an empty file system of size bytes (as tmpfs takes it: "64k"),
// which goes away with the test. Where the process may not mount, the test is skipped.
func Mount(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a full disk needs the right to mount a file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}
