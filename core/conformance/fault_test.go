package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/plugin"
)

// Whatever a backend does wrong is a failure that says so.
func TestFaults(t *testing.T) {
	t.Setenv("TRAINER_BACKEND", backendPath(t))
	b := faulty(t)
	s, err := New(Options{Tier: 1, Ops: []string{"random", "swiglu"}})
	require.NoError(t, err)
	s.cases = []Case{randomCase(plain, 5, 33), swigluCase(abi.F32, plain, plain, 3, 63)}
	for _, c := range []struct{ fault, random, swiglu string }{
		{"value", "exactly", "expected"},
		{"nan", "exactly", "expected"},
		{"outside", "1 bytes before out", "1 bytes before out"},
		{"unstable", "two runs gave different bytes", "two runs gave different bytes"},
		{"plan", "run 1 of the plan gave other bytes", "run 1 of the plan gave other bytes"},
		{"params", "with other params, in a plan", ""},
		{"none", "", ""},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Setenv("TRAINER_FAULT", c.fault)
			dev, err := b.OpenDevice(0, plugin.DeviceOptions{})
			require.NoError(t, err)
			report, err := s.Run(dev)
			require.NoError(t, err)
			require.NoError(t, dev.Close())
			for i, want := range []string{c.random, c.swiglu} {
				res := report.Results[i]
				require.Contains(t, res.Reason, want, res.Case)
				require.Equal(t, want != "", res.Status == Fail, "%s: %s", res.Case, res.Reason)
			}
			require.Equal(t, c.fault == "none", report.OK())
		})
	}
}

// faulty builds testdata/faulty.c and loads it.
func faulty(t *testing.T) *plugin.Backend {
	t.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	out := filepath.Join(t.TempDir(), "trainer-backend-faulty.so")
	text, err := exec.Command(cc, "-std=gnu11", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-I../abi", "-o", out, "testdata/faulty.c", "-ldl").CombinedOutput()
	require.NoError(t, err, string(text))
	b, err := plugin.Load("faulty", out)
	require.NoError(t, err)
	return b
}
