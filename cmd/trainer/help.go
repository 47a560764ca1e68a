package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"trainer/training/config"
)

// help writes what a command is for, its commands, and its flags by purpose.
func help(cmd *cobra.Command, _ []string) {
	w := cmd.OutOrStdout()
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	fmt.Fprintf(w, "%s\n\nUsage:\n  %s\n", text, usageLine(cmd))
	helpCommands(w, cmd)
	helpFlags(w, cmd)
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
}

func usageLine(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return strings.TrimSpace(cmd.Parent().CommandPath() + " " + cmd.Use)
	}
	return cmd.Use
}

func helpCommands(w io.Writer, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	fmt.Fprintf(w, "\nCommands:\n")
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			fmt.Fprintf(w, "  %-12s %s\n", sub.Name(), sub.Short)
		}
	}
	fmt.Fprintf(w, "\n%s COMMAND --help says more about each.\n", cmd.CommandPath())
}

// helpFlags writes the flags group by group; those without a group come last.
func helpFlags(w io.Writer, cmd *cobra.Command) {
	groups := map[config.Group][]*pflag.Flag{}
	visit := func(f *pflag.Flag) {
		if !f.Hidden {
			group := config.Group(strings.Join(f.Annotations[groupKey], ""))
			groups[group] = append(groups[group], f)
		}
	}
	cmd.Flags().SortFlags = false // as the table has them
	cmd.LocalFlags().VisitAll(visit)
	cmd.InheritedFlags().VisitAll(visit)
	for _, g := range append(slices.Clone(config.Groups), "") {
		if len(groups[g]) == 0 {
			continue
		}
		title := string(g)
		if g == "" {
			title = "General"
		}
		fmt.Fprintf(w, "\n%s:\n", title)
		for _, f := range groups[g] {
			fmt.Fprint(w, flagLines(f))
		}
	}
}

// Columns of help.
const (
	helpIndent = 38
	helpWidth  = 98
)

// flagLines is a flag with its help, wrapped.
func flagLines(f *pflag.Flag) string {
	name, text := "--"+f.Name, f.Usage
	if s, ok := config.Find(f.Name); ok && f.Annotations[groupKey] != nil {
		name, text = name+" "+valueName(s), settingHelp(s)
	} else if f.Value.Type() != "bool" {
		value := ""
		value, text = pflag.UnquoteUsage(f)
		name += " " + value
	}
	line := fmt.Sprintf("  %-*s", helpIndent-2, name)
	if len(name) > helpIndent-3 {
		line = "  " + name + "\n" + strings.Repeat(" ", helpIndent)
	}
	for i, part := range wrap(text, helpWidth-helpIndent) {
		if i > 0 {
			line += strings.Repeat(" ", helpIndent)
		}
		line += part + "\n"
	}
	return line
}

// valueName stands for the value: the choices where they are few and short.
func valueName(s config.Setting) string {
	switch {
	case s.Value != "":
		return s.Value
	case s.IsBool() && s.Choices == nil:
		return "true|false"
	case len(strings.Join(s.Choices, "|")) <= 26:
		return strings.Join(s.Choices, "|")
	}
	return "NAME"
}

// settingHelp is the help of a setting with choices, default and other names.
func settingHelp(s config.Setting) string {
	text := s.Help
	if valueName(s) == "NAME" && s.Choices != nil {
		text += ": " + strings.Join(s.Choices, ", ")
	}
	switch {
	case s.Default != "":
		text += " (" + s.Default + ")"
	case s.Unset != "":
		text += " (" + s.Unset + ")"
	}
	if len(s.Aliases) > 0 {
		text += "; also --" + strings.Join(s.Aliases, ", --")
	}
	return text
}

// wrap cuts text into lines of at most width letters, at spaces.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
