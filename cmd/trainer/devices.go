package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"trainer/core/abi"
	"trainer/core/plugin"
	"trainer/fault"
)

// newDevices makes `trainer devices`.
func newDevices(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "devices [flags]", Short: "every backend file seen, what became of it and why, and the devices of those that work", Args: noArguments}
	settings := addSettings(cmd, inGroups(nil, "backend_path", "library_path"))
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		settings, err := settings.config(nil)
		if err != nil {
			return err
		}
		all, err := discover(settings)
		if err != nil {
			return err
		}
		if *asJSON {
			if all == nil {
				all = []plugin.Candidate{}
			}
			err = c.json(map[string]any{"backends": all, "folders": plugin.Folders(), "telemetry": readTelemetry(all)})
		} else {
			c.deviceTable(all, readTelemetry(all))
		}
		if err == nil && !anyUsable(all) {
			return fault.New(fault.Device, "no backend can be used: build one with `make`, or name its folder with --backend_path")
		}
		return err
	}
	return cmd
}

func anyUsable(all []plugin.Candidate) bool {
	for _, c := range all {
		if c.Usable() {
			return true
		}
	}
	return false
}

// deviceTable writes every file and below it its devices, or why it is refused.
func (c *console) deviceTable(all []plugin.Candidate, t telemetryReport) {
	colour := coloured(c.out)
	for _, b := range all {
		fate, style := "refused", "31"
		if b.Usable() {
			fate, style = "works", "32"
		}
		c.result("%-12s %s  %s", b.Name, paint(colour, style, fmt.Sprintf("%-8s", fate)), b.Path)
		if !b.Usable() {
			c.result("%-12s %s: %s", "", b.Reason, b.Sentence)
		}
		for i, d := range b.Devices {
			c.result("%-12s device %d: %s", "", i, deviceLine(d))
			if r, ok := t.Devices[d.UUID]; ok {
				c.result("%-12s           now %s", "", readingLine(r))
			}
		}
	}
	if len(all) == 0 {
		c.result("no backend was seen; looked in %s", strings.Join(plugin.Folders(), ", "))
	}
}

// deviceLine describes a device.
func deviceLine(d plugin.DeviceInfo) string {
	parts := []string{d.Name}
	if d.ISA != "" {
		parts = append(parts, d.ISA)
	}
	if d.Threads > 0 {
		parts = append(parts, fmt.Sprintf("%d threads", d.Threads))
	}
	var computes []string
	for _, t := range []abi.DType{abi.F32, abi.BF16, abi.F16} {
		if d.Computes(t) {
			computes = append(computes, t.String())
		}
	}
	parts = append(parts, "computes "+listed(computes), fmt.Sprintf("%s of %s free", gib(int64(d.MemoryFree)), gib(int64(d.MemoryTotal))))
	if d.UUID != "" {
		parts = append(parts, d.UUID)
	}
	return strings.Join(parts, ", ")
}
