package abilayout

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Layout is what a header fixes.
type Layout struct {
	Structs   []Struct          `json:"structs"` // in the order of the header
	Constants map[string]uint64 `json:"constants"`
}

// Struct is one struct; its name is without trainer_.
type Struct struct {
	Name   string  `json:"name"`
	Size   uint64  `json:"size"`
	Fields []Field `json:"fields"`
}

// Field is one field, in bytes.
type Field struct {
	Name   string `json:"name"`
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size"`
}

var (
	comments   = regexp.MustCompile(`(?s)/\*.*?\*/`)
	structs    = regexp.MustCompile(`(?s)typedef struct trainer_(\w+) \{(.*?)\n\} trainer_`)
	fieldName  = regexp.MustCompile(`(\w+)(?:\[\d+\])?$|\(\*(\w+)\)`)
	parameters = regexp.MustCompile(`\)\s*\(.*$`)
	constants  = regexp.MustCompile(`(?m)^#define TRAINER_(\w+) (\w+)$`)
)

// Read measures the header at a path with the C compiler: CC, or cc.
func Read(header string) (Layout, error) {
	text, err := os.ReadFile(header)
	if err != nil {
		return Layout{}, err
	}
	bare := string(comments.ReplaceAll(text, nil))
	bare = regexp.MustCompile(`(?m)[ \t]+$`).ReplaceAllString(bare, "")
	l := Layout{Constants: map[string]uint64{}}
	var questions []string
	ask := func(expression string) { questions = append(questions, expression) }
	for _, m := range structs.FindAllStringSubmatch(bare, -1) {
		s := Struct{Name: m[1]}
		ask(fmt.Sprintf("sizeof(trainer_%s)", s.Name))
		for _, f := range strings.Split(m[2], ";") {
			if f = strings.TrimSpace(f); f == "" {
				continue
			}
			part := fieldName.FindStringSubmatch(parameters.ReplaceAllString(f, ")"))
			name := part[1] + part[2]
			s.Fields = append(s.Fields, Field{Name: name})
			ask(fmt.Sprintf("offsetof(trainer_%s, %s)", s.Name, name))
			ask(fmt.Sprintf("sizeof(((trainer_%s *)0)->%s)", s.Name, name))
		}
		l.Structs = append(l.Structs, s)
	}
	var names []string
	for _, m := range constants.FindAllStringSubmatch(bare, -1) {
		names = append(names, m[1])
		ask("TRAINER_" + m[1])
	}
	answers, err := compute(header, questions)
	if err != nil {
		return l, err
	}
	next := func() uint64 { x := answers[0]; answers = answers[1:]; return x }
	for i := range l.Structs {
		s := &l.Structs[i]
		s.Size = next()
		for k := range s.Fields {
			s.Fields[k].Offset, s.Fields[k].Size = next(), next()
		}
	}
	for _, name := range names {
		l.Constants[name] = next()
	}
	return l, nil
}

// compute compiles and runs a C program that prints expressions.
func compute(header string, expressions []string) ([]uint64, error) {
	header, err := filepath.Abs(header)
	if err != nil {
		return nil, err
	}
	source := "#include \"" + header + "\"\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n"
	for _, e := range expressions {
		source += "printf(\"%llu\\n\", (unsigned long long)(" + e + "));\n"
	}
	dir, err := os.MkdirTemp("", "abilayout-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "probe")
	if err := os.WriteFile(program+".c", []byte(source+"return 0;\n}\n"), 0o600); err != nil {
		return nil, err
	}
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if text, err := exec.Command(cc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", program, program+".c").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	text, err := exec.Command(program).Output()
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, line := range strings.Fields(string(text)) {
		x, err := strconv.ParseUint(line, 10, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// Breaks lists what a later layout of one major moved, resized or dropped. Fields at the end of
// a struct and new structs and constants are no breaks.
func (l Layout) Breaks(later Layout) (breaks []string) {
	structs := map[string]Struct{}
	for _, s := range later.Structs {
		structs[s.Name] = s
	}
	for _, s := range l.Structs {
		now, ok := structs[s.Name]
		if !ok || now.Size < s.Size || len(now.Fields) < len(s.Fields) {
			breaks = append(breaks, fmt.Sprintf("trainer_%s is gone or smaller", s.Name))
			continue
		}
		for i, f := range s.Fields {
			if now.Fields[i] != f {
				breaks = append(breaks, fmt.Sprintf("trainer_%s: %s of %d bytes at %d is now %s of %d at %d", s.Name, f.Name, f.Size, f.Offset,
					now.Fields[i].Name, now.Fields[i].Size, now.Fields[i].Offset))
			}
		}
	}
	for name, value := range l.Constants {
		if now, ok := later.Constants[name]; (!ok || now != value) && name != "ABI_MINOR" {
			breaks = append(breaks, fmt.Sprintf("TRAINER_%s is %d, was %d", name, now, value))
		}
	}
	return breaks
}
