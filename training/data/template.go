package data

import (
	"encoding/json"
	"fmt"

	"trainer/fault"
)

const (
	alpacaWithInput = "Below is an instruction that describes a task, paired with an input that provides further context. " +
		"Write a response that appropriately completes the request." +
		"\n\n### Instruction:\n%s\n\n### Input:\n%s\n\n### Response:"
	alpacaNoInput = "Below is an instruction that describes a task. " +
		"Write a response that appropriately completes the request." +
		"\n\n### Instruction:\n%s\n\n### Response:"
)

// Alpaca renders a record with the fields instruction, output and perhaps input,
// by the template of Stanford Alpaca: the prompt, and the answer that follows it
// without a separator. A missing, null or empty input chooses the form without
// one. A missing field or one that is not a string is a *fault.Error.
func Alpaca(r Record) (prompt, answer string, err error) {
	var text [3]string
	for i, name := range []string{"instruction", "output", "input"} {
		value, present := r.Fields[name]
		if name == "input" && value == nil {
			continue
		}
		s, ok := value.(string)
		if !ok {
			return "", "", r.fieldFault(name, value, present)
		}
		text[i] = s
	}
	if text[2] == "" {
		return fmt.Sprintf(alpacaNoInput, text[0]), text[1], nil
	}
	return fmt.Sprintf(alpacaWithInput, text[0], text[2]), text[1], nil
}

func (r Record) fieldFault(name string, value any, present bool) error {
	found := "nothing"
	if present {
		found = kindOf(value)
	}
	return &fault.Error{Kind: fault.Files, Where: r.File, Field: fmt.Sprintf("%s: field %q", r.At, name),
		Found: found, Want: "a string", Remedy: "correct the record; the alpaca format has instruction, output and perhaps input"}
}

// kindOf names the JSON kind of a value of Record.Fields.
func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "an array"
	}
	return "an object"
}
