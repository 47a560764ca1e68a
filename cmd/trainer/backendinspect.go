package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"trainer/core/plugin"
	"trainer/fault"
)

// newBackendInspect makes `trainer backend inspect`.
func newBackendInspect(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect FILE [flags]",
		Short: "what a backend's file says of itself, without loading it",
		Long: `Manifest, border version, exported symbols, libraries it needs, and traits that the rules
of the border forbid. No code of the file runs. Exit code 5 where it would be refused or
breaks a rule.`,
	}
	asJSON := addJSON(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		path, err := oneArgument(args, "FILE", "the library of a backend")
		if err != nil {
			return err
		}
		in, err := plugin.Inspect(path)
		if err != nil {
			return &fault.Error{Kind: fault.Device, Where: path, Found: "no such file", Want: "the library of a backend, as " + plugin.FileName("NAME")}
		}
		if *asJSON {
			err = c.json(in)
		} else {
			c.inspection(in)
		}
		if err == nil && in.Forbidden() {
			return &fault.Error{Kind: fault.Device, Where: path, Err: fmt.Errorf("it would be refused or breaks a rule: %s", reproach(in))}
		}
		return err
	}
	return cmd
}

// reproach is the first thing that is wrong.
func reproach(in plugin.Inspection) string {
	if in.Reason != plugin.ReasonOK {
		return in.Sentence
	}
	for _, t := range in.Traits {
		if t.Forbidden {
			return t.Sentence
		}
	}
	return ""
}

// inspection writes what is known of a file.
func (c *console) inspection(in plugin.Inspection) {
	line := func(what, format string, args ...any) {
		c.result("%-10s %s", what, printable(fmt.Sprintf(format, args...)))
	}
	line("file", "%s, %s bytes", in.Path, grouped(in.Bytes))
	line("fate", "%s: %s", in.Reason, in.Sentence)
	if m := in.Manifest; m != nil {
		line("backend", "%s %s, %s", m.Name, m.Version, cmp.Or(m.Vendor, "no vendor named"))
		if m.Description != "" {
			line("", "%s", m.Description)
		}
		line("border", "built for %d.%d, this program has %s, they would speak %s", *m.ABIMajor, *m.ABIMinor, abiVersion(), cmp.Or(in.Speaks, "none"))
		line("processor", "needs %s", cmp.Or(strings.Join(m.CPUFeatures, ", "), "nothing special"))
		line("opening", "a device may take %s", m.OpenTimeout())
	}
	line("exports", "%s", listed(in.Exports))
	for i, lib := range in.Needs {
		what := map[bool]string{true: "needs"}[i == 0]
		line(what, "%s%s", lib.Name, map[bool]string{false: ", which is not here"}[lib.Found])
	}
	if len(in.Runpath) > 0 {
		line("runpath", "%s", strings.Join(in.Runpath, ":"))
	}
	for _, t := range in.Traits {
		line(map[bool]string{true: "forbidden", false: "look at"}[t.Forbidden], "%s", t.Sentence)
	}
}
