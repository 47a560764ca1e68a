package data

import (
	"fmt"
	"slices"
	"strings"

	"trainer/fault"
)

// passage is a record as the text to learn from.
type passage struct {
	text  string
	learn []span // which of its bytes are learned, in order; the rest is prompt
	// framed: the tokenizer adds its special tokens and the end-of-text token follows, which
	// is learned too. Text of a chat template has all its special tokens in it.
	framed bool
}

// span is a range of bytes.
type span struct{ from, to int }

// promptAnswer is a passage of which the answer is learned.
func promptAnswer(prompt, answer string) passage {
	text := prompt + answer
	return passage{text: text, learn: []span{{len(prompt), len(text)}}, framed: true}
}

// format is one way in which records are laid out.
type format struct {
	name   string
	fields string // what it looks like, for sentences
	fits   func(fields map[string]any) bool
	render func(r Record, chat *Chat) (passage, error)
}

// formats are the known formats, in the order in which they are tried.
var formats = []format{
	{"messages", "messages: a list of objects with role and content", fitsMessages, renderMessages},
	{"sharegpt", "conversations: a list of objects with from and value", fitsShareGPT, renderShareGPT},
	{"alpaca", "instruction, output and perhaps input", has("instruction", "output"), renderAlpaca},
	{"prompt_completion", "prompt and completion", has("prompt", "completion"), renderPromptCompletion},
	{"qna", "question, answer and perhaps context", has("question", "answer"), renderQnA},
	{"guanaco", `text with "### Human:" and "### Assistant: "`, fitsGuanaco, renderGuanaco},
	{"text", "text", has("text"), renderText},
}

// Formats lists the names of the record formats.
func Formats() []string {
	var names []string
	for _, f := range formats {
		names = append(names, f.name)
	}
	return names
}

// splitFormat takes a dataset_format apart: it names a file type, a record format, or
// neither ("" and "auto").
func splitFormat(name string) (kind string, f *format, err error) {
	if name == "" || name == "auto" {
		return "", nil, nil
	}
	if slices.Contains(FileTypes(), name) {
		return name, nil, nil
	}
	for i := range formats {
		if formats[i].name == name {
			return "", &formats[i], nil
		}
	}
	return "", nil, &fault.Error{Kind: fault.Usage, Where: "--dataset_format", Found: fmt.Sprintf("%.40q", name),
		Want: "auto, " + strings.Join(append(Formats(), FileTypes()...), ", ")}
}

// detect finds the format of a data set by its first record.
func detect(r Record) (*format, error) {
	for i := range formats {
		if formats[i].fits(r.Fields) {
			return &formats[i], nil
		}
	}
	var known []string
	for _, f := range formats {
		known = append(known, f.name+" ("+f.fields+")")
	}
	return nil, &fault.Error{Kind: fault.Files, Where: r.File, Field: r.At.String(), Found: fieldNames(r.Fields),
		Want: "those of a known format: " + strings.Join(known, "; "), Remedy: "rename the fields, or name the format with --dataset_format"}
}

// fieldNames is "the fields a, b" for a sentence.
func fieldNames(fields map[string]any) string {
	const most = 8
	var names []string
	for name := range fields {
		names = append(names, fmt.Sprintf("%.40q", name))
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return "no fields"
	case len(names) > most:
		names = append(names[:most], "…")
	}
	return "the fields " + strings.Join(names, ", ")
}

// has says that fields of these names are there.
func has(names ...string) func(map[string]any) bool {
	return func(fields map[string]any) bool {
		for _, name := range names {
			if _, ok := fields[name]; !ok {
				return false
			}
		}
		return true
	}
}

// text is a field that must be a string. layout describes the format, for the sentence.
func (r Record) text(name, layout string) (string, error) {
	value, present := r.Fields[name]
	if s, ok := value.(string); ok {
		return s, nil
	}
	return "", r.fieldFault(name, value, present, layout)
}

// optionalText is a field that may be missing or null, which is "".
func (r Record) optionalText(name, layout string) (string, error) {
	if r.Fields[name] == nil {
		return "", nil
	}
	return r.text(name, layout)
}

func (r Record) fieldFault(name string, value any, present bool, layout string) error {
	return &fault.Error{Kind: fault.Files, Where: r.File, Field: fmt.Sprintf("%s: field %q", r.At, name),
		Found: foundKind(value, present), Want: "a string", Remedy: "correct the record; " + layout}
}
