package main

import (
	"github.com/spf13/cobra"
)

// newRoot makes the command tree. Bare `trainer` prints help; with flags it trains.
func newRoot(c *console) *cobra.Command {
	root := newTrain(c, "trainer [train] [flags]")
	root.Long = "trainer fine-tunes Llama-family language models: full, LoRA, QLoRA, DoRA and LLaMA Pro, on any backend it finds."
	root.Example = `  trainer --model_name DIR --dataset FILE.json --output_dir OUT
  trainer plan --shape llama-2-70b
  trainer demo`
	train := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().NFlag() == 0 && len(args) == 0 {
			help(cmd, nil)
			return nil
		}
		return train(cmd, args)
	}
	root.Flags().Bool("version", false, "the same as trainer version")
	root.Version = version
	root.SetVersionTemplate(versionLine() + "\n")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetHelpFunc(help)
	root.SetFlagErrorFunc(flagFault)
	root.PersistentFlags().BoolVar(&c.quiet, "quiet", false, "no progress and no logs")
	root.PersistentFlags().BoolP("help", "h", false, "help for the command")
	cobra.EnableCommandSorting = false
	root.AddCommand(newTrain(c, "train [flags]"), newDemo(c), newPlan(c), newBench(c), newDevices(c), newData(c), newEval(c), newGenerate(c), newMerge(c), newConvert(c), newExpand(c), newExport(c), newBackend(c), newVersion(c), newCompletion(c))
	root.SetHelpCommand(newHelp())
	return root
}

// newHelp makes `trainer help [command]`.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return noArguments(cmd.Root(), args)
			}
			help(about, nil)
			return nil
		},
	}
}
