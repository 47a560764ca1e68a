package config

import (
	"fmt"
	"slices"
	"strings"
)

// Document writes every setting, and every flag of fsdp_qlora with what became of it, as
// Markdown: docs/flags.md.
func Document() string {
	var b strings.Builder
	b.WriteString(`# Flags

Made from the table in ` + "`training/config/settings.go`" + ` by ` + "`go test ./training/config -run Document -update`" + `.

A flag may be written with hyphens or underscores. Booleans take ` + "`--f`, `--f true`, `--f=false` or `--no_f`" + `.
Every flag is a key of a ` + "`--config`" + ` file too; flags override the file.
`)
	for _, g := range Groups {
		fmt.Fprintf(&b, "\n## %s\n\n| flag | also | default | meaning |\n|---|---|---|---|\n", g)
		for _, s := range settings {
			if s.Group == g {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.Name, code(s.Aliases), cell(s.defaultText()), cell(s.meaning()))
			}
		}
	}
	b.WriteString(`
## Flags of fsdp_qlora

Every flag of its ` + "`train.py`" + ` is accepted, or answered with a sentence and exit code 2.

| flag | default there | here |
|---|---|---|
`)
	for _, o := range originals {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", o.Name, cell(o.Default), cell(o.fate()))
	}
	return b.String()
}

func (s *Setting) defaultText() string {
	if s.Default != "" {
		return s.Default
	}
	return s.Unset
}

// meaning is the help of a setting with its choices and other spellings of them.
func (s *Setting) meaning() string {
	text := s.Help
	if s.Choices != nil {
		text += "; one of " + strings.Join(s.Choices, ", ")
	}
	var other []string
	for spelling, value := range s.Synonyms {
		other = append(other, spelling+" = "+value)
	}
	if other != nil {
		slices.Sort(other)
		text += " (" + strings.Join(other, ", ") + ")"
	}
	return text
}

// fate is what became of a flag.
func (o *Original) fate() string {
	switch {
	case find(o.Name) != nil && o.Note == "":
		return "as there"
	case find(o.Name) != nil:
		return "differs: " + o.Note
	case len(o.Idle) > 0:
		return "only " + strings.Join(o.Idle, ", ") + ": " + o.Answer
	}
	return "none: " + o.Answer
}

// code sets names in a cell.
func code(names []string) string {
	var cells []string
	for _, n := range names {
		cells = append(cells, "`"+n+"`")
	}
	return strings.Join(cells, ", ")
}

// cell escapes what would end a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
