package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/plugin"
)

// frozen is the backend that is kept of a minor: as it was compiled where this platform's
// library is kept, else compiled now against the header of then.
func frozen(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), plugin.FileName("frozen"))
	if lib, err := os.ReadFile(filepath.Join(dir, runtime.GOOS+"-"+runtime.GOARCH, "trainer-backend-frozen.so")); err == nil {
		require.NoError(t, os.WriteFile(to, lib, 0o755))
		return to
	}
	text, err := exec.Command("cc", "-O3", "-std=c11", "-D_GNU_SOURCE", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-shared", "-I"+dir,
		"-o", to, filepath.Join(dir, "trainer-backend-frozen.c"), "-lm", "-lpthread").CombinedOutput()
	require.NoError(t, err, string(text))
	return to
}

// Every backend that was ever built for this major still passes.
func TestFrozenBackends(t *testing.T) {
	dirs, err := filepath.Glob("../abi/frozen/*")
	require.NoError(t, err)
	require.NotEmpty(t, dirs)
	s, err := New(Options{Tier: 0})
	require.NoError(t, err)
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			path := frozen(t, dir)
			in, err := plugin.Inspect(path)
			require.NoError(t, err)
			require.Equal(t, plugin.ReasonOK, in.Reason, in.Sentence)
			b := load(t, "frozen", path)
			dev, err := b.OpenDevice(0, plugin.DeviceOptions{})
			require.NoError(t, err)
			require.Equal(t, dev.Minor() >= plugin.TimesMinor, dev.HasTimes())
			require.NoError(t, dev.Close())
			judged(t, b, s, 1)
		})
	}
}
