package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"trainer/fault"
	"trainer/training/config"
)

// groupKey is the annotation of a flag that holds its group in help.
const groupKey = "group"

// settingFlags are the settings a command takes, as flags and in a --config file.
type settingFlags struct {
	file  string
	given [][2]string // names and values in the order typed
}

// addSettings gives a command the flag of every setting that want accepts, --config, and
// hidden, the flags that are only answered.
func addSettings(cmd *cobra.Command, want func(config.Setting) bool) *settingFlags {
	f := &settingFlags{}
	for _, s := range config.Settings() {
		if !want(s) {
			continue
		}
		for i, name := range append([]string{s.Name}, s.Aliases...) {
			flag := cmd.Flags().VarPF(&settingValue{f, s, name}, name, "", s.Help)
			flag.DefValue = s.Default
			flag.Hidden = i > 0
			flag.Annotations = map[string][]string{groupKey: {string(s.Group)}}
			if s.IsBool() {
				flag.NoOptDefVal = "true"
			}
			if s.Choices != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(s.Choices, cobra.ShellCompDirectiveNoFileComp)) // fails only for unknown flags
			}
		}
	}
	for _, o := range config.Answered() {
		s := config.Setting{Name: o.Name, Group: o.Group, Default: o.Default}
		if !want(s) {
			continue
		}
		flag := cmd.Flags().VarPF(&settingValue{f, s, o.Name}, o.Name, "", o.Answer)
		flag.Hidden = true
		if o.Switch {
			flag.NoOptDefVal = "true"
		}
	}
	cmd.Flags().StringVar(&f.file, "config", "", "settings from a YAML `FILE`, as run.yaml; flags override it")
	return f
}

// settingValue is a flag of a setting. It only takes down what was typed: the file comes
// first, and flags override it.
type settingValue struct {
	flags   *settingFlags
	setting config.Setting
	name    string
}

// Set implements pflag.Value.
func (v *settingValue) Set(text string) error {
	v.flags.given = append(v.flags.given, [2]string{v.name, text})
	return nil
}

// String implements pflag.Value.
func (v *settingValue) String() string { return v.setting.Default }

// Type implements pflag.Value.
func (v *settingValue) Type() string { return v.setting.Value }

// config makes the settings of a run: the defaults, preset, the file, the flags.
func (f *settingFlags) config(preset func(*config.Config)) (config.Config, error) {
	c := config.Default()
	if preset != nil {
		preset(&c)
	}
	if f.file != "" {
		if err := config.ReadFile(&c, f.file); err != nil {
			return c, err
		}
	}
	source := config.FromFlags(&c)
	for _, g := range f.given {
		if err := source.Set(g[0], g[1]); err != nil {
			return c, err
		}
	}
	return c, c.Resolve()
}

// inGroups accepts the settings of groups and those named.
func inGroups(groups []config.Group, names ...string) func(config.Setting) bool {
	return func(s config.Setting) bool { return slices.Contains(groups, s.Group) || slices.Contains(names, s.Name) }
}

// normalise writes arguments as pflag reads them: names with underscores, and a boolean
// with its value behind '='. So --f, --f true, --f=false and --no_f all work.
func normalise(root *cobra.Command, args []string) []string {
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		return args // a line that is still being typed
	}
	flags := allFlags(root)
	var out []string
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "--")
		if args[i] == "--" {
			return append(out, args[i:]...)
		}
		if !isFlag {
			out = append(out, args[i])
			continue
		}
		name, value, hasValue := strings.Cut(name, "=")
		name = config.Canonical(name)
		if positive, no := strings.CutPrefix(name, "no_"); no && !hasValue && flags[positive] == "true" {
			name, value, hasValue = positive, "false", true
		}
		boolean, known := flags[name]
		switch {
		case hasValue:
		case known && boolean == "true":
			value, hasValue = "true", true
			if i+1 < len(args) && (config.IsBool(args[i+1]) || args[i+1] == "auto") {
				i++
				value = args[i]
			}
		case known && i+1 < len(args):
			i++
			value, hasValue = args[i], true
		}
		if out = append(out, "--"+name); hasValue {
			out[len(out)-1] += "=" + value
		}
	}
	return out
}

// allFlags maps the flags of all commands to what they mean without a value.
func allFlags(cmd *cobra.Command) map[string]string {
	flags := map[string]string{"help": "true"}
	add := func(f *pflag.Flag) { flags[f.Name] = f.NoOptDefVal }
	cmd.Flags().VisitAll(add)
	cmd.PersistentFlags().VisitAll(add)
	for _, sub := range cmd.Commands() {
		for name, boolean := range allFlags(sub) {
			flags[name] = boolean
		}
	}
	return flags
}

// flagFault turns what pflag says into a sentence of ours.
func flagFault(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		e := fault.New(fault.Usage, "unknown flag --%.60s", unknown.GetSpecifiedName())
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			e = fault.New(fault.Usage, "unknown flag -%.60s", short)
		}
		e.Remedy = cmd.CommandPath() + " --help lists all"
		if near := config.Nearest(config.Canonical(unknown.GetSpecifiedName()), flagNames(cmd)); near != "" {
			e.Remedy = "did you mean --" + near + "?"
		}
		return e
	case errors.As(err, &empty):
		return &fault.Error{Kind: fault.Usage, Where: "--" + empty.GetSpecifiedName(), Found: "nothing", Want: "a value behind it"}
	case errors.As(err, &invalid):
		want := map[string]string{"int": "a whole number", "float64": "a number", "bool": "true or false"}[invalid.GetFlag().Value.Type()]
		return &fault.Error{Kind: fault.Usage, Where: "--" + invalid.GetFlag().Name, Found: fmt.Sprintf("%.80q", invalid.GetValue()), Want: want}
	}
	return fault.New(fault.Usage, "%w", err)
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// noArguments refuses stray words.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := &fault.Error{Kind: fault.Usage, Where: cmd.CommandPath(), Found: fmt.Sprintf("%.60q", args[0]), Want: "flags like --batch_size 8 only"}
	if !cmd.HasParent() {
		e.Where = ""
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	if len(names) > 0 {
		e.Want = "one of the commands " + strings.Join(names, ", ") + ", or flags"
		if near := config.Nearest(args[0], names); near != "" {
			e.Want, e.Remedy = "a command or flags", "did you mean "+near+"?"
		}
	}
	return e
}
