package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"trainer/fault"
)

// Canonical writes a name with underscores.
func Canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// IsBool reports whether the setting may be given without a value, which means true.
func (s Setting) IsBool() bool {
	var c Config
	switch s.field(&c).(type) {
	case *bool, **bool:
		return true
	}
	return slices.Contains(s.Choices, "true")
}

// IsList reports whether the setting holds several values.
func (s Setting) IsList() bool {
	var c Config
	_, ok := s.field(&c).(*[]string)
	return ok
}

// Text is the setting's value in c as a person would type it, "" where it is not given.
func (s Setting) Text(c *Config) string { return fieldText(s.field(c)) }

// Source assigns settings from one origin, the command line or a file, in which a setting
// and its alias may not both stand.
type Source struct {
	config *Config
	prefix string            // "--" on the command line
	where  string            // file; "" on the command line
	given  map[string]string // setting -> the name it was given by
}

// FromFlags assigns what stands on the command line to c.
func FromFlags(c *Config) *Source {
	return &Source{config: c, prefix: "--", given: map[string]string{}}
}

// Set assigns text to the setting of a name or alias. Lists grow with every call. Errors
// are *fault.Error of kind Usage.
func (s *Source) Set(name, text string) error { return s.set(name, []string{text}, "") }

// set assigns values, several only to a list; field says where in the file.
func (s *Source) set(name string, values []string, field string) error {
	setting := find(name)
	if o := answered(name); o != nil {
		return s.answer(o, values[0], field)
	}
	if setting == nil {
		return s.unknown(name, field)
	}
	if other, twice := s.given[setting.Name]; twice && other != Canonical(name) {
		return &fault.Error{Kind: fault.Usage, Where: s.where, Field: field, Found: fmt.Sprintf("both %s%s and %s%s", s.prefix, other, s.prefix, Canonical(name)),
			Want: "one of them: they are two names of one setting"}
	}
	if err := s.assign(setting, values); err != nil {
		found := fmt.Sprintf("%.80q", strings.Join(values, ","))
		if s.where == "" {
			return &fault.Error{Kind: fault.Usage, Where: s.prefix + Canonical(name), Found: found, Want: err.Error()}
		}
		return &fault.Error{Kind: fault.Usage, Where: s.where, Field: field + ": " + Canonical(name), Found: found, Want: err.Error()}
	}
	s.given[setting.Name] = Canonical(name)
	if Canonical(name) == schedulerAlias {
		s.config.schedulerByAlias = true
	}
	return nil
}

// assign parses values into the field. A list on the command line is cut as PATH is, and
// replaces what a file said the first time it is given.
func (s *Source) assign(setting *Setting, values []string) error {
	field := setting.field(s.config)
	list, ok := field.(*[]string)
	if !ok {
		text := values[0]
		if other, ok := setting.Synonyms[strings.TrimSpace(text)]; ok {
			text = other
		}
		if slices.Contains(setting.Choices, "true") && IsBool(text) {
			on, _ := parseBool(text)
			text = fmt.Sprint(on)
		}
		return setField(field, text)
	}
	if s.where == "" {
		values = filepath.SplitList(values[0])
	}
	if _, again := s.given[setting.Name]; !again {
		*list = nil
	}
	*list = append(*list, values...)
	return nil
}

// answer is what there is to say to a flag without a setting.
func (s *Source) answer(o *Original, text, field string) error {
	if s.where == "" {
		return o.check(s.prefix+o.Name, "", text)
	}
	return o.check(s.where, field+": "+o.Name, text)
}

func (s *Source) unknown(name, field string) error {
	e := &fault.Error{Kind: fault.Usage, Where: s.where, Field: field, Err: fmt.Errorf("unknown setting %s%.60s", s.prefix, Canonical(name))}
	if near := Nearest(Canonical(name), Names()); near != "" {
		e.Remedy = "did you mean " + s.prefix + near + "?"
	} else {
		e.Remedy = "trainer --help lists all"
	}
	return e
}

// Names lists every name and alias.
func Names() []string {
	var names []string
	for _, s := range settings {
		names = append(append(names, s.Name), s.Aliases...)
	}
	return names
}
