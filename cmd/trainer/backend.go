package main

import "github.com/spf13/cobra"

// newBackend makes `trainer backend`: commands for people who write backends.
func newBackend(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backend COMMAND",
		Short: "for people who write backends: begin one, look at it, judge it, time it, find its wrong op",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noArguments(cmd, args)
			}
			help(cmd, nil)
			return nil
		},
	}
	cmd.AddCommand(newBackendNew(c), newBackendInspect(c), newBackendCheck(c), newBackendBench(c), newBackendReplay(c))
	return cmd
}
