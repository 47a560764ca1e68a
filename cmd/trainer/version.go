package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"trainer/core/abi"
)

// version is that of the program; builds may set another with -ldflags -X.
var version = "0.1.0"

// newVersion makes `trainer version`.
func newVersion(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "version [flags]", Short: "version of the program, of the backend border, of Go, and the platform", Args: noArguments}
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		if !*asJSON {
			c.result("%s", versionLine())
			return nil
		}
		return c.json(map[string]string{"version": version, "revision": revision(), "abi": abiVersion(), "go": runtime.Version(), "platform": platform()})
	}
	return cmd
}

func versionLine() string {
	line := "trainer " + version
	if r := revision(); r != "" {
		line += " (" + r + ")"
	}
	return fmt.Sprintf("%s, backend border %s, %s, %s", line, abiVersion(), runtime.Version(), platform())
}

func abiVersion() string { return fmt.Sprintf("%d.%d", abi.ABIMajor, abi.ABIMinor) }

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// revision is the commit the program was built from, where the build knew it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return ""
}

// addJSON gives a command --json.
func addJSON(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "the result as JSON on standard output")
}
