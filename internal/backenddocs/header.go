package main

import (
	"fmt"
	"regexp"
	"strings"
)

// header is the text of trainer_backend.h.
type header string

// definition is the comment that defines an op: beside its number, or before it.
func (h header) definition(constant string) (string, error) {
	inline := regexp.MustCompile(`(?m)^#define ` + constant + ` \S+ +/\* (.*) \*/$`).FindStringSubmatch(string(h))
	if inline != nil {
		return inline[1], nil
	}
	before := regexp.MustCompile(`(?s)/\*([^/]|[^*]/)*?\*/\n#define ` + constant + ` `).FindString(string(h))
	// Of several comments the last is the op's own.
	at := strings.LastIndex(before, "/*")
	if at < 0 {
		return "", fmt.Errorf("the header has no comment at %s", constant)
	}
	return plain(before[at:strings.LastIndex(before, "*/")]), nil
}

// plain is a comment's text without its frame.
func plain(comment string) string {
	var lines []string
	for _, line := range strings.Split(strings.TrimPrefix(comment, "/*"), "\n") {
		line = strings.TrimPrefix(line, " *")
		lines = append(lines, strings.TrimPrefix(line, " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), " \n")
}

// structText is a struct of the header with the comment before it, "" where there is none.
func (h header) structText(name string) string {
	return regexp.MustCompile(`(?s)(/\*([^/]|[^*]/)*?\*/\n)?typedef struct ` + name + ` \{.*?\n\} ` + name + `;`).FindString(string(h))
}

var attrMention = regexp.MustCompile(`attr_(\w+)`)

// attributes is the attribute struct of an op, with the projections of those that have some.
func (h header) attributes(op, definition string) string {
	for name := op; name != ""; name = name[:max(0, strings.LastIndexByte(name, '_'))] {
		text := h.structText("trainer_attr_" + name)
		if text != "" && name == "linear" {
			text += "\n\n" + h.structText("trainer_projection")
		}
		if text != "" {
			return text
		}
	}
	if m := attrMention.FindStringSubmatch(definition); m != nil {
		return h.structText("trainer_attr_" + m[1])
	}
	return ""
}

// constants are the numbers whose names begin with a prefix.
func (h header) constants(prefix string) string {
	return strings.Join(regexp.MustCompile(`(?m)^#define `+prefix+`\w+ .*$`).FindAllString(string(h), -1), "\n")
}

// between is the text from one line up to another, without its end.
func (h header) between(from, to string) (string, error) {
	_, rest, ok := strings.Cut(string(h), from)
	text, _, found := strings.Cut(rest, to)
	if !ok || !found {
		return "", fmt.Errorf("the header has no text between %q and %q", from, to)
	}
	return strings.TrimSpace(from + text), nil
}
