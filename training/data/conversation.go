package data

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"trainer/fault"
)

const (
	assistantRole = "assistant"
	maxTurns      = 1000 // of one conversation
)

// conversationFields are the names under which records keep a conversation.
var conversationFields = []string{"messages", "conversations", "conversation"}

// speakers are the names that ShareGPT data has for the roles.
var speakers = map[string]string{
	"human": "user", "user": "user", "gpt": assistantRole, "assistant": assistantRole, "model": assistantRole, "chatgpt": assistantRole,
	"system": "system", "tool": "tool", "function": "tool", "observation": "tool",
}

// conversationOf is the list of turns of a record and the name of its field.
func conversationOf(fields map[string]any) (turns []any, name string, ok bool) {
	for _, name := range conversationFields {
		if turns, ok := fields[name].([]any); ok {
			return turns, name, true
		}
	}
	return nil, conversationFields[0], false
}

// fitsTurns says that the first turn of a record has a field.
func fitsTurns(fields map[string]any, key string) bool {
	turns, _, ok := conversationOf(fields)
	if !ok || len(turns) == 0 {
		return false
	}
	first, _ := turns[0].(map[string]any)
	_, ok = first[key]
	return ok
}

func fitsMessages(fields map[string]any) bool { return fitsTurns(fields, "role") }
func fitsShareGPT(fields map[string]any) bool { return fitsTurns(fields, "from") }

// learned says whether a turn is the assistant's and has no weight of 0.
func learned(turn any) bool {
	fields := turn.(map[string]any)
	weight, _ := fields["weight"].(json.Number)
	return fields["role"] == assistantRole && weight != "0"
}

// renderMessages renders OpenAI messages by the model's chat template.
func renderMessages(r Record, chat *Chat) (passage, error) {
	turns, name, _ := conversationOf(r.Fields)
	return r.converse(chat, name, turns, 0, message)
}

// renderShareGPT renders ShareGPT conversations by the model's chat template.
func renderShareGPT(r Record, chat *Chat) (passage, error) {
	turns, name, _ := conversationOf(r.Fields)
	return r.converse(chat, name, turns, 0, spoken)
}

// renderPromptMessages renders a prompt and a completion that are messages.
func renderPromptMessages(r Record, chat *Chat) (passage, error) {
	prompt, _ := r.Fields["prompt"].([]any)
	completion, ok := r.Fields["completion"].([]any)
	if !ok {
		_, present := r.Fields["completion"]
		return passage{}, r.turnFault("completion", foundKind(r.Fields["completion"], present), "a list of messages, as the prompt is")
	}
	return r.converse(chat, "prompt and completion", append(slices.Clone(prompt), completion...), len(prompt), message)
}

// converse checks turns and renders them; the first ones are prompt.
func (r Record) converse(chat *Chat, name string, turns []any, first int, read func(map[string]any) (map[string]any, string)) (passage, error) {
	if chat == nil {
		return passage{}, &fault.Error{Kind: fault.Files, Where: r.File, Field: r.At.String(), Found: "a conversation",
			Want: "a model with a chat template", Remedy: "use the instruct model, or put a " + templateFile + " into the model folder"}
	}
	if len(turns) == 0 || len(turns) > maxTurns {
		return passage{}, r.turnFault(name, fmt.Sprintf("%d turns", len(turns)), fmt.Sprintf("from 1 to %d", maxTurns))
	}
	t := conversation{first: first, tools: r.Fields["tools"]}
	if system, ok := r.Fields["system"].(string); ok && system != "" {
		t.turns = append(t.turns, map[string]any{"role": "system", "content": system})
		t.first++
	}
	answers := 0
	for i, value := range turns {
		fields, ok := value.(map[string]any)
		if !ok {
			return passage{}, r.turnFault(fmt.Sprintf("%s[%d]", name, i), kindOf(value), "an object")
		}
		turn, wrong := read(fields)
		if wrong != "" {
			return passage{}, r.turnFault(fmt.Sprintf("%s[%d]", name, i), wrong, "a turn with role (from) and content (value)")
		}
		t.turns = append(t.turns, turn)
		if i >= first && learned(turn) {
			answers++
		}
	}
	if answers == 0 {
		return passage{}, r.turnFault(name, "no turn of the assistant to learn", "at least one")
	}
	p, err := chat.passage(t)
	if err != nil {
		return p, r.chatFault(chat, err)
	}
	return p, nil
}

func (r Record) turnFault(name, found, want string) error {
	return &fault.Error{Kind: fault.Files, Where: r.File, Field: fmt.Sprintf("%s: field %q", r.At, name), Found: found, Want: want,
		Remedy: "correct the record"}
}

// message reads an OpenAI message; wrong says what it lacks.
func message(fields map[string]any) (turn map[string]any, wrong string) {
	if _, ok := fields["role"].(string); !ok {
		return nil, "a turn whose role is " + foundKind(fields["role"], fields["role"] != nil)
	}
	turn = maps.Clone(fields)
	switch content := fields["content"].(type) {
	case string:
	case []any:
		text, ok := joined(content)
		if !ok {
			return nil, "a turn with content that is not text"
		}
		turn["content"] = text
	case nil:
		if fields["tool_calls"] == nil {
			return nil, "a turn without content"
		}
		turn["content"] = ""
	default:
		return nil, "a turn whose content is " + kindOf(content)
	}
	return turn, ""
}

// joined is the text of content that comes in parts of type text.
func joined(parts []any) (string, bool) {
	var b strings.Builder
	for _, part := range parts {
		fields, _ := part.(map[string]any)
		text, ok := fields["text"].(string)
		if !ok || fields["type"] != "text" {
			return "", false
		}
		b.WriteString(text)
	}
	return b.String(), true
}

// spoken reads a ShareGPT turn.
func spoken(fields map[string]any) (turn map[string]any, wrong string) {
	from, _ := fields["from"].(string)
	role, ok := speakers[from]
	if !ok {
		return nil, fmt.Sprintf("a turn from %.40q", from)
	}
	value, ok := fields["value"].(string)
	if !ok {
		return nil, "a turn whose value is " + foundKind(fields["value"], fields["value"] != nil)
	}
	turn = map[string]any{"role": role, "content": value}
	if weight, ok := fields["weight"]; ok {
		turn["weight"] = weight
	}
	return turn, ""
}

// foundKind names a value that may be missing.
func foundKind(value any, present bool) string {
	if !present {
		return "nothing"
	}
	return kindOf(value)
}
