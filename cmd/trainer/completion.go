package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"trainer/fault"
)

// newCompletion makes `trainer completion`.
func newCompletion(c *console) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		Short:     "a script that completes flags in a shell",
		Example:   "  source <(trainer completion bash)\n  trainer completion fish > ~/.config/fish/completions/trainer.fish",
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			if len(args) == 1 {
				switch args[0] {
				case "bash":
					return root.GenBashCompletionV2(c.out, true)
				case "zsh":
					return root.GenZshCompletion(c.out)
				case "fish":
					return root.GenFishCompletion(c.out, true)
				case "powershell":
					return root.GenPowerShellCompletionWithDesc(c.out)
				}
			}
			return &fault.Error{Kind: fault.Usage, Where: cmd.CommandPath(), Found: fmt.Sprintf("%.80q", args), Want: "one of bash, zsh, fish, powershell"}
		},
	}
}
