package data

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// chat is the template of a family.
func chat(t testing.TB, name string) *Chat {
	t.Helper()
	source, err := os.ReadFile("../../files/jinja/testdata/" + name + ".jinja")
	require.NoError(t, err)
	c, err := newChat(name, string(source), map[string]any{"bos_token": "<s>", "eos_token": "</s>"})
	require.NoError(t, err)
	return c
}

// marked renders a record and puts what is learned between ⟦ and ⟧.
func marked(t *testing.T, c *Chat, record string) string {
	t.Helper()
	fields, syntax := parseObject([]byte(record))
	require.Nil(t, syntax)
	r := Record{File: "f", At: Position{1, 1}, Fields: fields}
	f, err := detect(r)
	require.NoError(t, err)
	p, err := f.render(r, c)
	require.NoError(t, err)
	require.False(t, p.framed)
	var b strings.Builder
	at := 0
	for _, s := range p.learn {
		require.LessOrEqual(t, at, s.from)
		require.Less(t, s.from, s.to)
		b.WriteString(p.text[at:s.from] + "⟦" + p.text[s.from:s.to] + "⟧")
		at = s.to
	}
	return b.String() + p.text[at:]
}

const (
	twoTurns   = `{"messages":[{"role":"user","content":"q1"},{"role":"assistant","content":"a1"},{"role":"user","content":"q2"},{"role":"assistant","content":"a2"}]}`
	withSystem = `{"messages":[{"role":"system","content":"S"},{"role":"user","content":"q1"},{"role":"assistant","content":"a1"},{"role":"user","content":"q2"},{"role":"assistant","content":"a2"}]}`
	thoughts   = `{"messages":[{"role":"user","content":"q1"},{"role":"assistant","content":"<think>\nhm\n</think>\n\na1"},{"role":"user","content":"q2"},{"role":"assistant","content":"<think>\nho\n</think>\n\na2"}]}`
)

// TestEveryTurnOfTheAssistantIsLearned renders conversations as every family does.
func TestEveryTurnOfTheAssistantIsLearned(t *testing.T) {
	for _, c := range []struct{ template, record, want string }{
		{"llama2", withSystem, "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nq1 [/INST]⟦ a1 </s>⟧<s>[INST] q2 [/INST]⟦ a2 </s>⟧"},
		{"llama3", twoTurns, "<s><|start_header_id|>user<|end_header_id|>\n\nq1<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦a1<|eot_id|>⟧" +
			"<|start_header_id|>user<|end_header_id|>\n\nq2<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦a2<|eot_id|>⟧"},
		{"qwen2", twoTurns, "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n⟦a1<|im_end|>\n⟧" +
			"<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n⟦a2<|im_end|>\n⟧"},
		{"qwen3", twoTurns, "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n⟦a1<|im_end|>\n⟧<|im_start|>user\nq2<|im_end|>\n" +
			"<|im_start|>assistant\n⟦<think>\n\n</think>\n\na2<|im_end|>\n⟧"},
		{"qwen3", thoughts, "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n⟦a1<|im_end|>\n⟧<|im_start|>user\nq2<|im_end|>\n" +
			"<|im_start|>assistant\n⟦<think>\nho\n</think>\n\na2<|im_end|>\n⟧"},
		{"mistral", twoTurns, "<s>[INST] q1 [/INST]⟦a1</s> ⟧[INST] q2 [/INST]⟦a2</s> ⟧"},
		// This template moves the system message to the last turn of the user.
		{"mistral3", withSystem, "<s>[INST] q1[/INST] a1</s>[INST] S\n\nq2[/INST]⟦ a2</s>⟧"},
		{"mistral3", twoTurns, "<s>[INST] q1[/INST]⟦ a1</s>⟧[INST] q2[/INST]⟦ a2</s>⟧"},
		// This one ends a text only behind its last turn.
		{"phi3", twoTurns, "<|user|>\nq1<|end|>\n<|assistant|>\n⟦a1<|end|>\n⟧<|user|>\nq2<|end|>\n<|assistant|>\n⟦a2<|end|>\n</s>⟧"},
		{"gemma", twoTurns, "<s><start_of_turn>user\nq1<end_of_turn>\n<start_of_turn>model\n⟦a1<end_of_turn>\n⟧<start_of_turn>user\nq2<end_of_turn>\n<start_of_turn>model\n⟦a2<end_of_turn>\n⟧"},
		{"zephyr", twoTurns, "<|user|>\nq1</s>\n<|assistant|>\n⟦a1</s>\n⟧<|user|>\nq2</s>\n<|assistant|>\n⟦a2</s>\n⟧"},
		{"generation", twoTurns, "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n⟦a1<|im_end|>⟧\n<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n⟦a2<|im_end|>⟧\n"},
		{"generation", `{"prompt":[{"role":"user","content":"q"},{"role":"assistant","content":"shot"},{"role":"user","content":"r"}],"completion":[{"role":"assistant","content":"a"}]}`,
			"<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nshot<|im_end|>\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n⟦a<|im_end|>⟧\n"},
		{"mistral", `{"prompt":[{"role":"user","content":"q"},{"role":"assistant","content":"shot"},{"role":"user","content":"r"}],"completion":[{"role":"assistant","content":"a"}]}`,
			"<s>[INST] q [/INST]shot</s> [INST] r [/INST]⟦a</s> ⟧"},
		{"mistral", `{"conversations":[{"from":"human","value":"q1"},{"from":"gpt","value":"a1","weight":0},{"from":"human","value":"q2"},{"from":"gpt","value":"a2"}]}`,
			"<s>[INST] q1 [/INST]a1</s> [INST] q2 [/INST]⟦a2</s> ⟧"},
		{"qwen25", `{"system":"S","conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}`,
			"<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n⟦a<|im_end|>\n⟧"},
		{"qwen25", `{"messages":[{"role":"user","content":[{"type":"text","text":"Weather"},{"type":"text","text":"?"}]},
			{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"w","arguments":{"city":"Bern"}}}]},{"role":"tool","content":"sun"},{"role":"assistant","content":"Sunny."}]}`,
			"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n" +
				"⟦<tool_call>\n{\"name\": \"w\", \"arguments\": {\"city\": \"Bern\"}}\n</tool_call><|im_end|>\n⟧<|im_start|>user\n<tool_response>\nsun\n</tool_response><|im_end|>\n<|im_start|>assistant\n⟦Sunny.<|im_end|>\n⟧"},
	} {
		assert.Equal(t, c.want, marked(t, chat(t, c.template), c.record), c.template)
	}
}

func TestConversationRefused(t *testing.T) {
	many := `{"messages":[` + strings.Repeat(`{"role":"user","content":""},`, 1000) + `{"role":"assistant","content":"a"}]}`
	for record, want := range map[string]string{
		`{"messages":[{"role":"user","content":"a"}]}`:                                                                  `field "messages": found no turn of the assistant to learn, expected at least one`,
		`{"messages":[{"role":"user","content":"a"},3]}`:                                                                `field "messages[1]": found a number, expected an object`,
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant"}]}`:                                             `field "messages[1]": found a turn without content`,
		`{"messages":[{"role":"user","content":{}},{"role":"assistant","content":"b"}]}`:                                `field "messages[0]": found a turn whose content is an object`,
		`{"messages":[{"role":"user","content":[{"type":"image"}]}]}`:                                                   `found a turn with content that is not text`,
		`{"messages":[{"role":"user","content":"a"},{"role":7,"content":"a"}]}`:                                         `found a turn whose role is a number`,
		`{"conversations":[{"from":"human","value":"a"},{"from":"nobody","value":"a"}]}`:                                `field "conversations[1]": found a turn from "nobody"`,
		`{"conversations":[{"from":"human","value":3}]}`:                                                                `found a turn whose value is a number`,
		`{"prompt":[{"role":"user","content":"a"}],"completion":"b"}`:                                                   `field "completion": found a string, expected a list of messages`,
		`{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":"b"}]}`: `f: line 1, column 1: the chat template refuses it: Conversation roles must alternate`,
		many: "found 1001 turns, expected from 1 to 1000",
	} {
		fields, syntax := parseObject([]byte(record))
		require.Nil(t, syntax, record)
		r := Record{File: "f", At: Position{1, 1}, Fields: fields}
		f, err := detect(r)
		require.NoError(t, err)
		_, err = f.render(r, chat(t, "mistral"))
		require.ErrorContains(t, err, want)
		assert.Equal(t, int(fault.Files), fault.ExitCode(err))
		_, err = f.render(r, nil)
		require.Error(t, err)
	}
	_, err := Load(write(t, "d.jsonl", twoTurns), Options{ContextLength: 100}, bytewise)
	require.ErrorContains(t, err, "line 1, column 1: found a conversation, expected a model with a chat template; use the instruct model, or put a chat_template.jinja into the model folder")
}

// TestConversationLabels follows the marks through a tokenizer and the context length.
func TestConversationLabels(t *testing.T) {
	path := write(t, "d.jsonl", twoTurns)
	learnt := func(context int) (string, Stats) {
		d, err := Load(path, Options{ContextLength: context, Chat: chat(t, "mistral")}, bytewise)
		require.NoError(t, err)
		var ids []int32
		for i, label := range d.Examples[0].Labels {
			if label != Ignored {
				require.Equal(t, d.Examples[0].IDs[i], label)
				ids = append(ids, label)
			}
		}
		return bytewise.Decode(ids, false), d.Stats
	}
	text, stats := learnt(1000)
	assert.Equal(t, "a1</s> a2</s> ", text)
	assert.Equal(t, stats.MaxLength, stats.Tokens, "nothing is added to what the template writes")
	text, stats = learnt(len("<s>[INST] q1 [/INST]a1<"))
	assert.Equal(t, "a1<", text)
	assert.Equal(t, 1, stats.Truncated)
}

func TestLoadChat(t *testing.T) {
	source := `{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}>{% endif %}`
	quoted, err := json.Marshal(source)
	require.NoError(t, err)
	tokens := `"bos_token":{"content":"<s>","lstrip":false},"eos_token":"</s>","pad_token":null`
	for name, files := range map[string]map[string]string{
		"text":  {"tokenizer_config.json": `{` + tokens + `,"chat_template":` + string(quoted) + `}`},
		"named": {"tokenizer_config.json": `{` + tokens + `,"chat_template":[{"name":"rag","template":"no"},{"name":"default","template":` + string(quoted) + `}]}`},
		"file":  {"tokenizer_config.json": `{` + tokens + `,"chat_template":"old"}`, "chat_template.jinja": source},
	} {
		c, err := LoadChat(folder(t, files))
		require.NoError(t, err, name)
		text, err := c.Prompt([]Message{{"user", "hi"}, {"assistant", "ho"}})
		require.NoError(t, err)
		assert.Equal(t, "<s>hi</s>ho</s>>", text, name)
	}
	for _, files := range []map[string]string{{}, {"tokenizer_config.json": `{"chat_template":null}`}} {
		c, err := LoadChat(folder(t, files))
		require.NoError(t, err)
		assert.Nil(t, c)
	}
	for want, files := range map[string]map[string]string{
		"tokenizer_config.json: chat template: line 1: ":                                   {"tokenizer_config.json": `{"chat_template":"{% if"}`},
		"tokenizer_config.json: line 2, column 3: found the end":                           {"tokenizer_config.json": "{\n \""},
		"chat_template.jinja: chat template: line 2: the tag \"include\" is not supported": {"chat_template.jinja": "\n{% include 'x' %}"},
	} {
		dir := folder(t, files)
		_, err := LoadChat(dir)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, filepath.Join(dir, ""))
		assert.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"xab", "aby", 2}, {"abc", "abcd", 3}, {"aab", "ab", 2}, {"abab", "ababab", 4}, {"x", "y", 0}, {"", "a", 0}, {"a", "", 0}, {"aaaa", "aab", 2}} {
		assert.Equal(t, c.want, overlap(c.a, c.b), "%q %q", c.a, c.b)
	}
}

func FuzzConversation(f *testing.F) {
	for _, record := range []string{twoTurns, withSystem, thoughts, `{"conversations":[{"from":"human","value":"<think>"},{"from":"gpt","value":"<|end|>\n"}]}`} {
		f.Add([]byte(record))
	}
	chats := []*Chat{chat(f, "qwen3"), chat(f, "phi3"), chat(f, "mistral3"), chat(f, "generation"), chat(f, "zephyr")}
	f.Fuzz(func(t *testing.T, record []byte) {
		fields, syntax := parseObject(record)
		if syntax != nil {
			return
		}
		r := Record{File: "f", At: Position{1, 1}, Fields: fields}
		format, err := detect(r)
		if err != nil {
			return
		}
		for _, c := range chats {
			p, err := format.render(r, c)
			if err != nil {
				require.Equal(t, int(fault.Files), fault.ExitCode(err), "%v", err)
				continue
			}
			at := 0
			for _, s := range p.learn {
				require.True(t, at <= s.from && s.from <= s.to && s.to <= len(p.text), "%v", p.learn)
				at = s.to
			}
		}
	})
}
