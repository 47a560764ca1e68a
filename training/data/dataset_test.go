package data

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// byteTokenizer has an id for every byte, from 3 on, BOS 1 and EOS 2.
type byteTokenizer struct{ eos, pad int32 }

var bytewise = byteTokenizer{eos: 2, pad: -1}

func (byteTokenizer) Encode(text string, addSpecial bool) []int32 {
	var ids []int32
	if addSpecial {
		ids = append(ids, 1)
	}
	for _, b := range []byte(text) {
		ids = append(ids, int32(b)+3)
	}
	return ids
}

func (byteTokenizer) Decode(ids []int32, skipSpecial bool) string {
	var text []byte
	for _, id := range ids {
		if id >= 3 {
			text = append(text, byte(id-3))
		} else if !skipSpecial {
			text = fmt.Appendf(text, "<%d>", id)
		}
	}
	return string(text)
}

func (b byteTokenizer) EOS() (int32, bool) { return b.eos, b.eos >= 0 }
func (b byteTokenizer) PAD() (int32, bool) { return b.pad, b.pad >= 0 }
func (byteTokenizer) VocabSize() int       { return 259 }

// promptOracle is one entry of testdata/oracles/prompts/llama2.json.
type promptOracle struct {
	Style           string
	Record          map[string]any
	Prompt, Example string
}

func alpacaOracles(t *testing.T) []promptOracle {
	raw, err := os.ReadFile("../../testdata/oracles/prompts/llama2.json")
	require.NoError(t, err)
	var all, alpaca []promptOracle
	require.NoError(t, json.Unmarshal(raw, &all))
	for _, o := range all {
		if o.Style == "alpaca" {
			alpaca = append(alpaca, o)
		}
	}
	require.Len(t, alpaca, 8)
	return alpaca
}

func TestAlpacaFollowsOracle(t *testing.T) {
	for _, o := range alpacaOracles(t) {
		prompt, answer, err := Alpaca(Record{Fields: o.Record})
		require.NoError(t, err)
		assert.Equal(t, o.Prompt, prompt)
		assert.Equal(t, o.Example, prompt+answer)
	}
}

func TestAlpacaNullInputIsNone(t *testing.T) {
	without, _, err := Alpaca(Record{Fields: map[string]any{"instruction": "100%d", "output": ""}})
	require.NoError(t, err)
	null, _, err := Alpaca(Record{Fields: map[string]any{"instruction": "100%d", "output": "", "input": nil}})
	require.NoError(t, err)
	assert.Equal(t, without, null)
	assert.Contains(t, null, "100%d")
}

func TestLoadMasksPrompt(t *testing.T) {
	oracles := alpacaOracles(t)
	var lines []string
	for _, o := range oracles {
		line, err := json.Marshal(o.Record)
		require.NoError(t, err)
		lines = append(lines, string(line))
	}
	options := Options{ContextLength: 1 << 20}
	d, err := Load(write(t, "d.jsonl", strings.Join(lines, "\n")), options, bytewise)
	require.NoError(t, err)
	again, err := Load(write(t, "d.json", "["+strings.Join(lines, ",")+"]"), options, bytewise)
	require.NoError(t, err)
	assert.Equal(t, d, again)
	require.Len(t, d.Examples, len(oracles))
	for i, e := range d.Examples {
		ids := append(bytewise.Encode(oracles[i].Example, true), 2)
		labels := append([]int32(nil), ids...)
		for k := range len(oracles[i].Prompt) + 1 {
			labels[k] = Ignored
		}
		assert.Equal(t, Example{IDs: ids, Labels: labels, Row: i}, e)
		r := Render(e, bytewise)
		assert.Equal(t, oracles[i].Prompt, r.Prompt)
		assert.Equal(t, oracles[i].Example, r.Prompt+r.Answer)
		assert.Equal(t, RenderedToken{1, "<1>", true}, r.Tokens[0])
		assert.Equal(t, RenderedToken{2, "<2>", false}, r.Tokens[len(ids)-1])
	}
}

// alpacaLines gives records whose answers have the given numbers of bytes.
func alpacaLines(answers ...int) string {
	var b strings.Builder
	for _, n := range answers {
		fmt.Fprintf(&b, "{\"instruction\":\"x\",\"output\":\"%s\"}\n", strings.Repeat("y", n))
	}
	return b.String()
}

// promptTokens is the length of the prompt of every record of alpacaLines.
var promptTokens = 1 + len(fmt.Sprintf(alpacaNoInput, "x"))

func TestLoadCutsAndSkips(t *testing.T) {
	path := write(t, "d.jsonl", alpacaLines(3, 10, 4, 0))
	d, err := Load(path, Options{ContextLength: promptTokens + 5}, bytewise)
	require.NoError(t, err)
	assert.Equal(t, Stats{Records: 4, Examples: 4, Truncated: 1, MaxLength: promptTokens + 11,
		Tokens: 4*promptTokens + 4 + 5 + 5 + 1, Labelled: 15}, d.Stats)
	assert.NotEqual(t, int32(2), d.Examples[1].IDs[promptTokens+4], "a cut row has no end")
	l := d.Lengths()
	assert.Equal(t, []int{promptTokens + 1, promptTokens + 4, promptTokens + 11, promptTokens + 11}, []int{l.Min, l.P50, l.P90, l.Max})
	assert.Equal(t, 0.25, l.ShareTruncated)
	assert.InDelta(t, float64(promptTokens)+21.0/4, l.Mean, 1e-9)
	assert.InDelta(t, 1-15/float64(d.Stats.Tokens), l.ShareMasked, 1e-12)

	d, err = Load(write(t, "d.jsonl", `{"instruction":"xxxxxxxx","output":"long prompt"}`+"\n"+alpacaLines(2)),
		Options{ContextLength: promptTokens + 7}, bytewise)
	require.NoError(t, err)
	assert.Equal(t, 1, d.Stats.Skipped)
	assert.Equal(t, 1, d.Examples[0].Row, "a row keeps its number in the file")

	d, err = Load(path, Options{ContextLength: 1000, Samples: 2}, bytewise)
	require.NoError(t, err)
	assert.Equal(t, 2, d.Stats.Records)
}

func TestLoadRefuses(t *testing.T) {
	good := alpacaLines(2)
	for _, c := range []struct {
		text    string
		options Options
		want    string
	}{
		{good + `{"instruction":"a","output":3}`, Options{ContextLength: 500}, `line 2, column 1: field "output": found a number, expected a string`},
		{good + `{"output":"a"}`, Options{ContextLength: 500}, `line 2, column 1: field "instruction": found nothing, expected a string`},
		{good + `{"instruction":"a","output":"b","input":["c"]}`, Options{ContextLength: 500}, `field "input": found an array, expected a string`},
		{good + `{"instruction":"a","output":null}`, Options{ContextLength: 500}, `field "output": found null, expected a string`},
		{good + good + "{", Options{ContextLength: 500}, `line 3, column 2: found the end`},
		{`{"output":3}` + "\n{", Options{ContextLength: 500}, `line 1, column 1: found the fields "output", expected those of a known format: messages (`},
		{`{"output":3}` + "\n{", Options{ContextLength: 500, Format: "alpaca"}, `line 1, column 1: field "instruction"`},
		{"", Options{ContextLength: 500}, `found no record, expected at least one`},
		{good + good, Options{ContextLength: 10}, fmt.Sprintf(`found 2 records and no answer within the context length in any, expected at least one row to learn from; --context_length %d fits all`, promptTokens+3)},
		{good + `{"instruction":"` + "\u00FF" + `","output":"b"}`, Options{ContextLength: 500, VocabSize: 190}, `line 2, column 1: found token id 198, expected ids below the model's vocabulary of 190; use the tokenizer`},
	} {
		path := write(t, "d.jsonl", c.text)
		_, err := Load(path, c.options, bytewise)
		require.ErrorContains(t, err, c.want)
		assert.ErrorContains(t, err, path+": ")
		assert.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
	_, err := Load("d.jsonl", Options{}, bytewise)
	assert.Equal(t, int(fault.Usage), fault.ExitCode(err))
	_, err = Load("d.jsonl", Options{ContextLength: 2}, byteTokenizer{eos: -1})
	assert.ErrorContains(t, err, "eos_token")
}

func TestLoadKeepsOrderOverManyBlocks(t *testing.T) {
	answers := make([]int, 2*blockRecords+7)
	for i := range answers {
		answers[i] = i % 50
	}
	d, err := Load(write(t, "d.jsonl", alpacaLines(answers...)), Options{ContextLength: 500}, bytewise)
	require.NoError(t, err)
	require.Len(t, d.Examples, len(answers))
	for i, e := range d.Examples {
		require.Equal(t, i, e.Row)
		require.Len(t, e.IDs, promptTokens+answers[i]+1)
	}
}

func TestLoadSharedData(t *testing.T) {
	shared := os.Getenv("TRAINER_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	for name, records := range map[string]int{"gsm8k_train.alpaca.json": 7473, "gsm8k_test.alpaca.jsonl": 1319} {
		path := filepath.Join(shared, "data", name)
		if _, err := os.Stat(path); err != nil {
			t.Skip("needs TRAINER_SHARED: the data sets are not in the repository")
		}
		d, err := Load(path, Options{ContextLength: 4096}, bytewise)
		require.NoError(t, err)
		assert.Equal(t, records, d.Stats.Examples)
		assert.Zero(t, d.Stats.Truncated)
	}
}
