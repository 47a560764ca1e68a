package jinja

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// golden is one rendering by Jinja2; testdata/golden.py writes them.
type golden struct {
	Template, Conversation string
	Variables              map[string]any
	Text, Raised           string
	Spans                  [][2]int
}

func goldens(t *testing.T) []golden {
	raw, err := os.ReadFile("testdata/goldens.json")
	require.NoError(t, err)
	var all []golden
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	require.NoError(t, d.Decode(&all))
	require.NotEmpty(t, all)
	return all
}

func load(t testing.TB, name string) *Template {
	source, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	template, err := Parse(string(source))
	require.NoError(t, err, name)
	return template
}

// TestRendersWhatJinja2Renders compares every template with every conversation.
func TestRendersWhatJinja2Renders(t *testing.T) {
	for _, g := range goldens(t) {
		out, err := load(t, g.Template).Render(ordered(g.Variables))
		if g.Raised != "" {
			require.Error(t, err, "%s, %s", g.Template, g.Conversation)
			if raised := err.(*Error); raised.Raised {
				assert.Equal(t, g.Raised, err.Error())
			}
			continue
		}
		require.NoError(t, err, "%s, %s", g.Template, g.Conversation)
		assert.Equal(t, g.Text, out.Text, "%s, %s", g.Template, g.Conversation)
		var spans [][2]int
		for _, s := range out.Generated {
			spans = append(spans, [2]int{s.From, s.To})
		}
		assert.Equal(t, g.Spans, append([][2]int{}, spans...), "%s, %s", g.Template, g.Conversation)
	}
}

// ordered puts the tool description into the order in which Python has it.
func ordered(variables map[string]any) map[string]any {
	tools, ok := variables["tools"].([]any)
	if !ok {
		return variables
	}
	var walk func(value any, names []string) any
	walk = func(value any, names []string) any {
		m, ok := value.(map[string]any)
		if !ok {
			return value
		}
		d := NewDict()
		for _, name := range names {
			if member, known := m[name]; known {
				d.Set(name, walk(member, names))
			}
		}
		return d
	}
	variables["tools"] = []any{walk(tools[0], []string{"type", "function", "name", "description", "parameters", "city"})}
	return variables
}

func render(source string, variables map[string]any) (string, error) {
	t, err := Parse(source)
	if err != nil {
		return "", err
	}
	out, err := t.Render(variables)
	return out.Text, err
}

// TestRefuses holds a sentence for each way a template or its variables can be wrong.
func TestRefuses(t *testing.T) {
	for source, want := range map[string]string{
		"a\n{{ x":                       "line 2: a tag is not closed by }}",
		"{% if x %}":                    "found the end of the template, expected endif",
		"{% include 'x' %}":             `the tag "include" is not supported`,
		"{% import 'os' as os %}":       `the tag "import" is not supported`,
		"{% extends 'x' %}":             `the tag "extends" is not supported`,
		"{{ x|attr('y') }}":             `the filter "attr" is not supported`,
		"{{ x is foo }}":                `the test "foo" is not supported`,
		"{{ 'x }}":                      "a string is not closed",
		"{{ 1 2 }}":                     `found "2", expected the end of the tag`,
		"{{ ) }}":                       `found ")", expected a value`,
		"{# x":                          "a comment is not closed",
		"{% break %}":                   "break outside of a loop",
		"{{ a.b.c }}":                   "b is not defined, so it has no c",
		"{{ none + 1 }}":                "none + a number cannot be computed",
		"{{ 'a' + 1 }}":                 "a text + a number cannot be computed",
		"{{ 1 // 0 }}":                  "division by zero",
		"{{ 9223372036854775807 + 1 }}": "a number leaves 64 bits",
		"{{ strftime_now('%d') }}":      "strftime_now is not defined, so it cannot be called",
		"{{ [].append(1) }}":            "append is not defined, so it cannot be called",
		"{{ 'x'.format(1) }}":           "format is not defined, so it cannot be called",
		"{{ 'x'.strip(1) }}":            "the letters to strip are a number",
		"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}": "m takes at most 1 arguments",
		"{% macro m(a) %}{% endmacro %}{{ m(b=2) }}":  `m takes no argument "b"`,
		"{{ raise_exception('no\nway') }}":            "no\nway",
		"{{ {1: 2} }}":                                "the key of a mapping is no string",
		"{{ '\\ud800' }}":                             "is no character",
		"{{ @ }}":                                     `the character '@' has no meaning here`,
	} {
		_, err := render(source, map[string]any{"a": map[string]any{}})
		require.Error(t, err, source)
		assert.Contains(t, err.Error(), want, source)
	}
}

// TestReachesNothing tries what escapes from other interpreters.
func TestReachesNothing(t *testing.T) {
	for _, source := range []string{
		"{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ self.__init__.__globals__ }}", "{{ messages.__class__ }}{{ messages.__class__.x }}",
		"{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ lipsum.__globals__['os'] }}", "{{ request.application }}",
		"{{ namespace.__init__.__globals__ }}", "{{ range.__self__.x }}", "{{ ''['__class__'].x }}", "{{ get_flashed_messages.__globals__ }}",
		"{{ config.items() }}", "{{ ''|map('__class__')|list }}", "{{ [1]|map(attribute='__class__.__base__')|list }}",
	} {
		_, err := render(source, map[string]any{"messages": []any{"a"}})
		assert.Error(t, err, source)
	}
}

// TestBombsStop wants an error, and soon.
func TestBombsStop(t *testing.T) {
	for name, source := range map[string]string{
		"range":        "{% for i in range(10**9) %}{% endfor %}",
		"loops":        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
		"text":         "{{ 'x' * 10**9 }}",
		"doubling":     "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
		"lists":        "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
		"nested lists": "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
		"compare":      "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s == ns.s }}",
		"json":         "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s|tojson }}",
		"replace":      "{{ ('x' * 10000000).replace('x', 'yyyyyyyyyy') }}",
		"join":         "{{ range(1000000)|join('x' * 10000000) }}",
		"indent":       "{{ ('\n' * 10000000)|indent(1000, blank=true) }}",
		"recursion":    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
		"unique":       "{{ range(1000000)|unique|list }}",
		"power":        "{{ 9 ** 9 ** 9 }}",
		"output":       "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
		"brackets":     "{{ " + strings.Repeat("(", 100_000),
		"nots":         "{{ " + strings.Repeat("not ", 100_000) + "1 }}",
		"ifs":          strings.Repeat("{% if 1 %}", 50_000),
		"elifs":        "{% if 0 %}" + strings.Repeat("{% elif 0 %}", 50_000) + "{% endif %}",
		"sums":         "{{ 1" + strings.Repeat("+1", 200_000) + " }}",
		"filters":      "{{ 1" + strings.Repeat("|d", 200_000) + " }}",
		"attributes":   "{{ a" + strings.Repeat(".a", 200_000) + " }}",
		"long":         strings.Repeat("x", maxSource+1),
	} {
		start := processorTime(t)
		_, err := render(source, nil)
		assert.Error(t, err, name)
		assert.Less(t, processorTime(t)-start, 2*time.Second, name)
	}
}

// processorTime is what this process has used, whatever else the machine does.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func FuzzRender(f *testing.F) {
	files, err := filepath.Glob("testdata/*.jinja")
	require.NoError(f, err)
	for _, name := range files {
		source, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(string(source), "user", "hello")
	}
	f.Fuzz(func(t *testing.T, source, role, content string) {
		template, err := Parse(source)
		if err != nil {
			require.IsType(t, &Error{}, err)
			return
		}
		messages := []any{map[string]any{"role": role, "content": content}, map[string]any{"role": "assistant", "content": "x"}}
		out, err := template.Render(map[string]any{"messages": messages, "bos_token": "<s>", "add_generation_prompt": true})
		if err != nil {
			require.IsType(t, &Error{}, err)
			return
		}
		again, err := template.Render(map[string]any{"messages": messages, "bos_token": "<s>", "add_generation_prompt": true})
		require.NoError(t, err)
		require.Equal(t, out, again)
		for _, s := range out.Generated {
			require.True(t, 0 <= s.From && s.From <= s.To && s.To <= len(out.Text))
		}
	})
}
