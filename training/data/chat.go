package data

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

	"trainer/fault"
	"trainer/files/jinja"
	"trainer/files/modeldir"
)

// Chat is a model's chat template with the texts of its special tokens. It may be used by
// several goroutines at once.
type Chat struct {
	where    string // file of the template
	source   string // text of the template
	template *jinja.Template
	tokens   map[string]any // bos_token, eos_token …: text
}

// Message is one turn of a conversation.
type Message struct{ Role, Content string }

// The files of a model folder that may hold its template, in the order in which they count.
const (
	templateFile  = "chat_template.jinja"
	configFile    = "tokenizer_config.json"
	maxConfigFile = 16 << 20
)

// LoadChat reads the chat template of a model folder: chat_template.jinja, else
// chat_template in tokenizer_config.json. It is nil where the model has none. Errors are
// *fault.Error of kind Files.
func LoadChat(dir string) (*Chat, error) {
	folder, err := modeldir.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	config := map[string]any{}
	text, err := folder.ReadFile(configFile, maxConfigFile)
	if err == nil {
		var syntax *syntaxError
		if config, syntax = parseObject(text); syntax != nil {
			return nil, syntax.at(folder.Path(configFile), Position{1, 1}, text)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	where, source := folder.Path(configFile), templateOf(config["chat_template"])
	if text, err = folder.ReadFile(templateFile, maxConfigFile); err == nil {
		where, source = folder.Path(templateFile), string(text)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if source == "" {
		return nil, nil
	}
	return newChat(where, source, specialTokens(config))
}

// newChat parses a template.
func newChat(where, source string, tokens map[string]any) (*Chat, error) {
	template, err := jinja.Parse(source)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Files, Where: where, Field: "chat template", Err: err,
			Remedy: "put a simpler template into " + templateFile + " of the model folder"}
	}
	return &Chat{where, source, template, tokens}, nil
}

// templateOf reads the field chat_template: a text, or a list of named ones.
func templateOf(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []any:
		for _, element := range v {
			if entry, ok := element.(map[string]any); ok && entry["name"] == "default" {
				source, _ := entry["template"].(string)
				return source
			}
		}
	}
	return ""
}

// specialTokens are the fields *_token of a tokenizer_config.json, texts or objects with
// content.
func specialTokens(config map[string]any) map[string]any {
	tokens := map[string]any{}
	for name, value := range config {
		if object, ok := value.(map[string]any); ok {
			value = object["content"]
		}
		if text, ok := value.(string); ok && strings.HasSuffix(name, "_token") {
			tokens[name] = text
		}
	}
	return tokens
}

// Prompt is the text in front of the model's next turn.
func (c *Chat) Prompt(messages []Message) (string, error) {
	var turns []any
	for _, m := range messages {
		turns = append(turns, map[string]any{"role": m.Role, "content": m.Content})
	}
	out, err := c.render(conversation{turns: turns}, len(turns), true)
	if err != nil {
		return "", &fault.Error{Kind: fault.Files, Where: c.where, Field: "chat template", Err: err}
	}
	return out.Text, nil
}

// conversation is what a template is given.
type conversation struct {
	turns []any // map[string]any with role and content
	tools any
	first int // the turns before are prompt, whoever speaks
}

// render writes the first n turns and, if asked, the beginning of the model's next one.
func (c *Chat) render(t conversation, n int, prompt bool) (jinja.Output, error) {
	variables := map[string]any{"messages": t.turns[:n], "add_generation_prompt": prompt}
	if t.tools != nil {
		variables["tools"] = t.tools
	}
	for name, text := range c.tokens {
		variables[name] = text
	}
	return c.template.Render(variables)
}

// passage renders a conversation and finds the turns of the assistant in it, which are
// learned: by the template's generation blocks, or else by rendering up to every turn. A
// turn that the template writes differently once others follow, so that its beginning
// cannot be found, is not learned.
func (c *Chat) passage(t conversation) (passage, error) {
	whole, err := c.render(t, len(t.turns), false)
	if err != nil {
		return passage{}, err
	}
	p := passage{text: whole.Text}
	if len(whole.Generated) > 0 {
		p.learn = t.generated(whole.Generated)
		return p, nil
	}
	for i := t.first; i < len(t.turns); i++ {
		if !learned(t.turns[i]) {
			continue
		}
		s, err := c.turn(t, i, whole.Text)
		if err != nil {
			return p, err
		}
		if s.to > s.from && (len(p.learn) == 0 || s.from >= p.learn[len(p.learn)-1].to) {
			p.learn = append(p.learn, s)
		}
	}
	if len(p.learn) == 0 {
		return p, errNothingLearned
	}
	return p, nil
}

var errNothingLearned = errors.New("no turn of the assistant can be found in what the chat template writes")

// generated takes the spans of generation blocks that are learned; there is one for every
// turn of the assistant.
func (t conversation) generated(blocks []jinja.Span) []span {
	var spans []span
	next := 0
	for i, turn := range t.turns {
		if turn.(map[string]any)["role"] != assistantRole || next == len(blocks) {
			continue
		}
		if i >= t.first && learned(turn) {
			spans = append(spans, span{blocks[next].From, blocks[next].To})
		}
		next++
	}
	return spans
}

// turn finds turn i in the rendered whole; it is empty where it cannot be found.
func (c *Chat) turn(t conversation, i int, whole string) (span, error) {
	from := 0
	if i > 0 {
		before, err := c.render(t, i, false)
		if err != nil {
			return span{}, err
		}
		asked, err := c.render(t, i, true)
		if err != nil {
			return span{}, err
		}
		// The template may open the turn as it does not in the whole, but only behind all
		// that came before.
		from = commonPrefix(asked.Text, whole)
		if from < len(asked.Text) && !(strings.HasPrefix(asked.Text, before.Text) && from >= len(before.Text)) {
			return span{}, nil
		}
	}
	if i == len(t.turns)-1 {
		return span{from, len(whole)}, nil
	}
	ended, err := c.render(t, i+1, false)
	if err != nil {
		return span{}, err
	}
	start := commonPrefix(ended.Text[:min(from, len(ended.Text))], whole)
	if start < from {
		return span{}, nil
	}
	content, _ := t.turns[i].(map[string]any)["content"].(string)
	return span{from, from + turnEnd(ended.Text[from:], whole[from:], strings.TrimSpace(content))}, nil
}

// turnEnd is how many bytes of rest, which begins with a turn, belong to it, given how the
// turn is written when it is the last.
func turnEnd(last, rest, content string) int {
	if strings.HasPrefix(rest, last) {
		return len(last)
	}
	// Perhaps its beginning is left out when others follow, as thoughts are.
	at := strings.LastIndex(last, content)
	behind := len(last) - at - len(content)
	if n := overlap(last, rest); at >= 0 && n > 0 && (n > behind || content == "") {
		return n
	}
	// Perhaps its end is written only when it is the last.
	in := strings.Index(rest, content)
	if at < 0 || in < 0 {
		return 0
	}
	common := commonPrefix(last[at+len(content):], rest[in+len(content):])
	end := in + len(content) + common
	return len(strings.TrimRight(rest[:end], markerStart))
}

// markerStart are letters that two different markers may begin with alike.
const markerStart = "<|[{("

// commonPrefix is how many bytes, of whole characters, two texts begin with alike.
func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && (n < len(a) && !utf8.RuneStart(a[n]) || n < len(b) && !utf8.RuneStart(b[n])) {
		n--
	}
	return n
}

// overlap is the length of the longest end of a that b begins with, by the failure function
// of Knuth, Morris and Pratt.
func overlap(a, b string) int {
	b = b[:min(len(a), len(b))]
	if b == "" {
		return 0
	}
	fail := make([]int, len(b))
	for i, n := 1, 0; i < len(b); i++ {
		for n > 0 && b[i] != b[n] {
			n = fail[n-1]
		}
		if b[i] == b[n] {
			n++
		}
		fail[i] = n
	}
	n := 0
	for i := range len(a) {
		for n > 0 && (n == len(b) || a[i] != b[n]) {
			n = fail[n-1]
		}
		if a[i] == b[n] {
			n++
		}
	}
	return n
}

// chatFault says what a template made of a record.
func (r Record) chatFault(c *Chat, err error) error {
	e := &fault.Error{Kind: fault.Files, Where: r.File, Field: r.At.String(), Remedy: "correct the conversation"}
	e.Err = fmt.Errorf("the chat template refuses it: %.300s", err)
	if errors.Is(err, errNothingLearned) {
		e.Err = err
	}
	var inner *jinja.Error
	if errors.As(err, &inner) && !inner.Raised {
		e.Err = fmt.Errorf("the chat template of %s fails: %.300s", c.where, err)
	}
	return e
}
