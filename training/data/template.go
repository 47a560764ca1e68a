package data

import (
	"encoding/json"
	"fmt"
	"strings"
)

const (
	alpacaWithInput = "Below is an instruction that describes a task, paired with an input that provides further context. " +
		"Write a response that appropriately completes the request." +
		"\n\n### Instruction:\n%s\n\n### Input:\n%s\n\n### Response:"
	alpacaNoInput = "Below is an instruction that describes a task. " +
		"Write a response that appropriately completes the request." +
		"\n\n### Instruction:\n%s\n\n### Response:"

	qnaWithContext = "###Context:\n%s\n###Question:\n%s\n###Answer:\n"
	qnaNoContext   = "###Question:\n%s\n###Answer:\n"

	guanacoHuman     = "### Human:"
	guanacoAssistant = "### Assistant: "
)

// What a record of a format has, for sentences.
const (
	alpacaLayout     = "the alpaca format has instruction, output and perhaps input"
	completionLayout = "the prompt_completion format has prompt and completion"
	qnaLayout        = "the qna format has question, answer and perhaps context"
	guanacoLayout    = "the guanaco format has text"
	textLayout       = "the text format has text"
)

// Alpaca renders a record with the fields instruction, output and perhaps input,
// by the template of Stanford Alpaca: the prompt, and the answer that follows it
// without a separator. A missing, null or empty input chooses the form without
// one. A missing field or one that is not a string is a *fault.Error.
func Alpaca(r Record) (prompt, answer string, err error) {
	instruction, err := r.text("instruction", alpacaLayout)
	if err != nil {
		return "", "", err
	}
	if answer, err = r.text("output", alpacaLayout); err != nil {
		return "", "", err
	}
	input, err := r.optionalText("input", alpacaLayout)
	if input == "" {
		return fmt.Sprintf(alpacaNoInput, instruction), answer, err
	}
	return fmt.Sprintf(alpacaWithInput, instruction, input), answer, err
}

func renderAlpaca(r Record, _ *Chat) (passage, error) {
	prompt, answer, err := Alpaca(r)
	return promptAnswer(prompt, answer), err
}

// renderQnA renders question, answer and perhaps context; a missing, null or empty context
// chooses the form without one.
func renderQnA(r Record, _ *Chat) (passage, error) {
	question, err := r.text("question", qnaLayout)
	if err != nil {
		return passage{}, err
	}
	answer, err := r.text("answer", qnaLayout)
	if err != nil {
		return passage{}, err
	}
	context, err := r.optionalText("context", qnaLayout)
	if context == "" {
		return promptAnswer(fmt.Sprintf(qnaNoContext, question), answer), err
	}
	return promptAnswer(fmt.Sprintf(qnaWithContext, context, question), answer), err
}

// renderPromptCompletion learns a completion behind its prompt. Both are text, or both are
// lists of messages of one conversation.
func renderPromptCompletion(r Record, chat *Chat) (passage, error) {
	if _, ok := r.Fields["prompt"].([]any); ok {
		return renderPromptMessages(r, chat)
	}
	prompt, err := r.text("prompt", completionLayout)
	if err != nil {
		return passage{}, err
	}
	completion, err := r.text("completion", completionLayout)
	return promptAnswer(prompt, completion), err
}

func fitsGuanaco(fields map[string]any) bool {
	text, _ := fields["text"].(string)
	return strings.HasPrefix(text, guanacoHuman)
}

// renderGuanaco learns everything behind the first turn of the human, the marker of the
// assistant and later turns of the human included.
func renderGuanaco(r Record, _ *Chat) (passage, error) {
	text, err := r.text("text", guanacoLayout)
	prompt, _, _ := strings.Cut(text, guanacoAssistant)
	return promptAnswer(prompt, text[len(prompt):]), err
}

// renderText learns a text whole.
func renderText(r Record, _ *Chat) (passage, error) {
	text, err := r.text("text", textLayout)
	return promptAnswer("", text), err
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
