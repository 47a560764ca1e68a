package plugin

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/fault"
)

// device is a device of a class with so many GiB that stores f32, i32 and u8.
func device(class uint32, gib uint64) DeviceInfo {
	return DeviceInfo{Class: class, MemoryTotal: gib << 30, BufferMax: gib << 30, StorageDTypes: 1<<abi.F32 | 1<<abi.I32 | 1<<abi.U8, Name: "d", UUID: "u"}
}

func works(name string, devices ...DeviceInfo) Candidate {
	return Candidate{Path: "/b/" + filePrefix + name + ".so", Name: name, Reason: ReasonOK, Devices: devices}
}

func TestAutoTakesTheBestDeviceAndSaysWhy(t *testing.T) {
	useless := DeviceInfo{Class: abi.DeviceDiscrete}
	all := []Candidate{
		works("cpu", device(abi.DeviceCPU, 64)), works("first", device(abi.DeviceDiscrete, 8), device(abi.DeviceDiscrete, 24)),
		works("second", device(abi.DeviceDiscrete, 24)), works("null", useless),
		{Name: "bad", Reason: ReasonCrashed}, {Name: "cpu", Reason: ReasonShadowed},
	}
	c, why, err := Choose(all, "auto", Need{})
	require.NoError(t, err)
	assert.Equal(t, "first", c.Candidate.Name)
	assert.Equal(t, 1, c.Device)
	assert.Equal(t, "backend first, device 1 (d, discrete, 24.0 GiB): the best of 4 devices by class and memory; not taken: null device 0 (has no memory to use), bad (probe_crashed)", why)

	c, why, err = Choose(all, "", Need{Memory: 32 << 30})
	require.NoError(t, err)
	assert.Equal(t, "cpu", c.Candidate.Name)
	assert.Contains(t, why, "the only device that can do this run; not taken: first device 0 (has 8.0 GiB, the run needs 32.0 GiB)")

	_, _, err = Choose(all, "auto", Need{Storage: []abi.DType{abi.BF16}})
	assert.ErrorContains(t, err, "cpu device 0 (cannot store bf16)")
	assert.Equal(t, int(fault.Device), fault.ExitCode(err))
	_, _, err = Choose(nil, "auto", Need{})
	assert.ErrorContains(t, err, "no backend at all")
}

func TestAnExplicitBackendIsNeverReplaced(t *testing.T) {
	all := []Candidate{works("cpu", device(abi.DeviceCPU, 64)), {Path: "/b/trainer-backend-bad.so", Name: "bad", Reason: ReasonExit, Sentence: "ended the program"},
		works("metal", device(abi.DeviceIntegrated, 16))}
	_, _, err := Choose(all, "bad", Need{})
	assert.EqualError(t, err, "/b/trainer-backend-bad.so: backend bad is refused (probe_exit): ended the program")
	assert.Equal(t, int(fault.Device), fault.ExitCode(err))
	_, _, err = Choose(all, "nonsense", Need{})
	assert.ErrorContains(t, err, `--backend: found "nonsense", expected auto or the name of a backend file (found are cpu, metal)`)
	_, _, err = Choose(all, "cpu", Need{Memory: 1 << 40})
	assert.ErrorContains(t, err, "the run needs 1024.0 GiB")
	for _, alias := range []string{"mps", "mlx", "metal"} {
		c, why, err := Choose(all, alias, Need{})
		require.NoError(t, err)
		assert.Equal(t, "metal", c.Candidate.Name)
		assert.Contains(t, why, ": asked for")
	}
}

func TestADeviceCanBeAskedFor(t *testing.T) {
	two := device(abi.DeviceDiscrete, 4)
	two.UUID = "GPU-2"
	all := []Candidate{works("x", device(abi.DeviceDiscrete, 24), two)}
	for _, want := range []string{"1", "GPU-2"} {
		c, _, err := Choose(all, "x", Need{Device: want})
		require.NoError(t, err)
		assert.Equal(t, 1, c.Device)
	}
	_, _, err := Choose(all, "auto", Need{Device: "9"})
	assert.ErrorContains(t, err, "not the device asked for")
}
