package main

import (
	"os"
	"runtime"
	"slices"
	"strconv"

	"trainer/core/abi"
	"trainer/core/plugin"
	"trainer/core/program"
	"trainer/training/config"
)

// discover looks for backends as the settings say. The libraries of vendors are looked for
// by the system's loader in this process's children.
func discover(c config.Config) ([]plugin.Candidate, error) {
	if len(c.LibraryPath) > 0 {
		name := "LD_LIBRARY_PATH"
		if runtime.GOOS == "darwin" {
			name = "DYLD_LIBRARY_PATH"
		}
		path := c.LibraryPath
		if old := os.Getenv(name); old != "" {
			path = append(slices.Clone(path), old)
		}
		text := path[0]
		for _, p := range path[1:] {
			text += string(os.PathListSeparator) + p
		}
		if err := os.Setenv(name, text); err != nil {
			return nil, err
		}
	}
	return plugin.Discover(plugin.Options{Paths: c.BackendPath}), nil
}

// chooseDevice takes the backend and device of a job and writes them, and the precision
// that follows from them, into its settings.
func chooseDevice(c *config.Config) (DeviceChoice, error) {
	all, err := discover(*c)
	if err != nil {
		return DeviceChoice{}, err
	}
	choice, why, err := plugin.Choose(all, c.Backend, plugin.Need{Device: c.Device, Storage: storage(*c)})
	if err != nil {
		return DeviceChoice{}, err
	}
	c.Backend, c.Device = choice.Candidate.Name, strconv.Itoa(choice.Device)
	if c.Precision == "auto" {
		c.Precision = program.NativePrecision(choice.Info().Computes)
	}
	return DeviceChoice{choice, why}, nil
}

// storage lists the element types a run keeps on the device besides f32.
func storage(c config.Config) []abi.DType {
	var types []abi.DType
	if p, err := program.PrecisionByName(c.Precision); err == nil && p.Activation != abi.F32 { // else it is auto
		types = append(types, p.Activation)
	}
	if c.TrainType == "qlora" {
		types = append(types, abi.U8)
	}
	return types
}
