package tokenizer

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// small is a whole tokenizer.json with holes for other fields of the file, of the
// model, and for the vocabulary and merges.
const small = `{%s "model": {"type": "BPE", %s "vocab": {"a":0,"b":1,"ab":2,"<s>":3 %s}, "merges": ["a b" %s]}}`

func smallFile(top, model, vocab, merges string) string {
	return fmt.Sprintf(small, top, model, vocab, merges)
}

func requireFault(t *testing.T, err error, parts ...string) {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	assert.Equal(t, fault.Files, f.Kind)
	for _, part := range parts {
		assert.Contains(t, err.Error(), part)
	}
	assert.NotContains(t, err.Error(), "\n")
	assert.NotEmpty(t, f.Remedy)
}

func TestSmall(t *testing.T) {
	tok, err := Parse("x", []byte(smallFile("", "", "", "")))
	require.NoError(t, err)
	assert.Equal(t, []int32{2, 2, 0}, tok.Encode("abzaba", true))
	assert.Equal(t, 4, tok.VocabSize())
	assert.Equal(t, "ab", tok.TokenString(2))
	assert.Equal(t, "", tok.TokenString(99))
	assert.Equal(t, "ab a", tok.Decode([]int32{2, -1, 77, 0}, false))
	id, ok := tok.ID("b")
	assert.True(t, ok)
	assert.EqualValues(t, 1, id)
	_, ok = tok.ID("zz")
	assert.False(t, ok)
	_, ok = tok.BOS()
	assert.False(t, ok)
}

func TestBadFiles(t *testing.T) {
	nested := strings.Repeat(`{"type":"Sequence","normalizers":[`, 20) + strings.Repeat("]}", 20)
	bomb := `{"type":"Sequence","normalizers":[` + strings.Repeat(`{"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaa"},`, 9) + `{"type":"NFC"}]}`
	added := func(fields string) string { return `"added_tokens": [` + fields + `],` }
	for name, c := range map[string]struct {
		raw   string
		parts []string
	}{
		"empty":               {"", []string{"empty file"}},
		"broken":              {"{\n\"model\": }", []string{"line 2", "valid JSON"}},
		"cut":                 {smallFile("", "", "", "")[:60], []string{"line 1", "valid JSON"}},
		"not UTF-8":           {"\xff{}", []string{"not UTF-8"}},
		"list":                {"[]", []string{"found array", "an object"}},
		"no model":            {"{}", []string{"model.vocab"}},
		"unigram":             {`{"model":{"type":"Unigram","vocab":[["a",0.5]]}}`, []string{"model.type", `"Unigram"`, "BPE"}},
		"vocab list":          {`{"model":{"type":"BPE","vocab":["a"]}}`, []string{"model.vocab", "object"}},
		"negative id":         {smallFile("", "", `,"c":-1`, ""), []string{`model.vocab["c"]`, "-1", "0 to 16777216"}},
		"huge id":             {smallFile("", "", `,"c":16777217`, ""), []string{`model.vocab["c"]`, "16777217"}},
		"fractional id":       {smallFile("", "", `,"c":1.5`, ""), []string{`model.vocab["c"]`, "1.5"}},
		"id text":             {smallFile("", "", `,"c":"7"`, ""), []string{`model.vocab["c"]`, "7"}},
		"id object":           {smallFile("", "", `,"c":{"d":7}`, ""), []string{`model.vocab["c"]`}},
		"duplicate id":        {smallFile("", "", `,"c":1`, ""), []string{`model.vocab["c"]`, `the id of "b"`}},
		"duplicate piece":     {smallFile("", "", `,"a":9`, ""), []string{`model.vocab["a"]`, "twice"}},
		"unknown piece":       {smallFile("", "", "", `,"a z"`), []string{"model.merges[1]", `"z"`}},
		"unknown join":        {smallFile("", "", "", `,"b a"`), []string{"model.merges[1]"}},
		"merge of three":      {smallFile("", "", "", `,"a b c"`), []string{"model.merges[1]", "two pieces"}},
		"merge number":        {smallFile("", "", "", `,7`), []string{"model.merges", "a list"}},
		"unknown unk":         {smallFile("", `"unk_token":"<unk>",`, "", ""), []string{"model.unk_token", "<unk>"}},
		"dropout":             {smallFile("", `"dropout":0.1,`, "", ""), []string{"model.dropout", "0.1"}},
		"word suffix":         {smallFile("", `"end_of_word_suffix":"</w>",`, "", ""), []string{"end_of_word_suffix"}},
		"word prefix":         {smallFile("", `"continuing_subword_prefix":"##",`, "", ""), []string{"continuing_subword_prefix"}},
		"wrong type":          {smallFile("", `"byte_fallback":3,`, "", ""), []string{"model.byte_fallback", "true or false"}},
		"added duplicate":     {smallFile(added(`{"id":1,"content":"<x>"}`), "", "", ""), []string{"added_tokens[0].id", `the id of "b"`}},
		"added other id":      {smallFile(added(`{"id":9,"content":"b"}`), "", "", ""), []string{"added_tokens[0].id", "its id 1"}},
		"added twice":         {smallFile(added(`{"id":9,"content":"x"},{"id":10,"content":"x"}`), "", "", ""), []string{"added_tokens[1].content"}},
		"added negative":      {smallFile(added(`{"id":-5,"content":"x"}`), "", "", ""), []string{"added_tokens[0].id", "-5"}},
		"added beyond int32":  {smallFile(added(`{"id":5000000000,"content":"x"}`), "", "", ""), []string{"added_tokens", "5000000000"}},
		"added long":          {smallFile(added(`{"id":9,"content":"`+strings.Repeat("x", 2000)+`"}`), "", "", ""), []string{"added_tokens[0].content", "1024 bytes"}},
		"added grows":         {smallFile(added(`{"id":9,"content":"xx","normalized":true}`)+`"normalizer":{"type":"Replace","pattern":{"String":"x"},"content":"`+strings.Repeat("y", 600)+`"},`, "", "", ""), []string{"added_tokens[0].content", "1024 bytes"}},
		"added total":         {smallFile(manyAdded(), "", "", ""), []string{"added_tokens", "4194304"}},
		"long prepend":        {smallFile(`"normalizer":{"type":"Prepend","prepend":"`+strings.Repeat("x", 2000)+`"},`, "", "", ""), []string{"normalizer.prepend", "1024 bytes"}},
		"normaliser":          {smallFile(`"normalizer":{"type":"Nmt"},`, "", "", ""), []string{"normalizer.type", `"Nmt"`}},
		"inner normaliser":    {smallFile(`"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Nmt"}]},`, "", "", ""), []string{"normalizer[1].type"}},
		"replace regex":       {smallFile(`"normalizer":{"type":"Replace","pattern":{"Regex":"a+"},"content":"b"},`, "", "", ""), []string{"normalizer.pattern", "a+"}},
		"nested":              {smallFile(`"normalizer":`+nested+`,`, "", "", ""), []string{"nested too deeply"}},
		"bomb":                {smallFile(`"normalizer":`+bomb+`,`, "", "", ""), []string{"times longer"}},
		"pre-tokenizer":       {smallFile(`"pre_tokenizer":{"type":"BertPreTokenizer"},`, "", "", ""), []string{"pre_tokenizer.type", "BertPreTokenizer"}},
		"look-ahead":          {smallFile(`"pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"a(?!b)"}},`, "", "", ""), []string{"pre_tokenizer.pattern.Regex", "a(?!b)"}},
		"word class":          {smallFile(`"pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"\\w+"}},`, "", "", ""), []string{`\w means something else`}},
		"no pattern":          {smallFile(`"pre_tokenizer":{"type":"Split","behavior":"Isolated"},`, "", "", ""), []string{"pre_tokenizer.pattern"}},
		"behaviour":           {smallFile(`"pre_tokenizer":{"type":"Split","behavior":"Sideways","pattern":{"String":"a"}},`, "", "", ""), []string{"pre_tokenizer.behavior", "Sideways"}},
		"two ByteLevels":      {smallFile(`"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"ByteLevel"}]},`, "", "", ""), []string{"pre_tokenizer[1]"}},
		"long replacement":    {smallFile(`"pre_tokenizer":{"type":"Metaspace","replacement":"__"},`, "", "", ""), []string{"pre_tokenizer.replacement"}},
		"prepend scheme":      {smallFile(`"pre_tokenizer":{"type":"Metaspace","replacement":"_","prepend_scheme":"maybe"},`, "", "", ""), []string{"prepend_scheme", "maybe"}},
		"decoder":             {smallFile(`"decoder":{"type":"CTC"},`, "", "", ""), []string{"decoder.type", "CTC"}},
		"strip of two":        {smallFile(`"decoder":{"type":"Strip","content":"xy"},`, "", "", ""), []string{"decoder.content"}},
		"post-processor":      {smallFile(`"post_processor":{"type":"BertProcessing"},`, "", "", ""), []string{"post_processor.type"}},
		"template token":      {smallFile(`"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}]},`, "", "", ""), []string{"post_processor.single[0]", "<s>"}},
		"template id":         {smallFile(`"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"ids":[77]}}},`, "", "", ""), []string{"post_processor.single[0]", "77"}},
		"template without A":  {smallFile(`"post_processor":{"type":"TemplateProcessing","single":[]},`, "", "", ""), []string{"post_processor.single"}},
		"template other text": {smallFile(`"post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"B"}}]},`, "", "", ""), []string{"post_processor.single[0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("dir/tokenizer.json", []byte(c.raw))
			requireFault(t, err, append(c.parts, "dir/tokenizer.json: ")...)
		})
	}
}

// manyAdded is a field added_tokens with more text than is accepted.
func manyAdded() string {
	var b strings.Builder
	b.WriteString(`"added_tokens": [`)
	for id := range 4200 {
		fmt.Fprintf(&b, `{"id":%d,"content":"%s%d"},`, id+10, strings.Repeat("x", 1000), id)
	}
	return b.String() + `{"id":9,"content":"y"}],`
}

func writeModel(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	raw := smallFile(`"added_tokens":[{"id":4,"content":"</s>","special":true}],`, "", "", "")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(raw), 0o644))
	if config != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(config), 0o644))
	}
	return dir
}

func TestLoadConfig(t *testing.T) {
	tok, err := Load(writeModel(t, `{"bos_token":"<s>","eos_token":{"content":"</s>","lstrip":false},"pad_token":null}`))
	require.NoError(t, err)
	bos, ok := tok.BOS()
	assert.True(t, ok)
	assert.EqualValues(t, 3, bos)
	eos, ok := tok.EOS()
	assert.True(t, ok)
	assert.EqualValues(t, 4, eos)
	_, ok = tok.PAD()
	assert.False(t, ok)
	assert.Equal(t, 5, tok.VocabSize())

	tok, err = Load(writeModel(t, ""))
	require.NoError(t, err)
	_, ok = tok.EOS()
	assert.False(t, ok)
}

func TestLoadRealFolder(t *testing.T) {
	tok, err := Load(filepath.Join(testdata, "models", "demo-2m"))
	require.NoError(t, err)
	for want, get := range []func() (int32, bool){tok.BOS, tok.EOS, tok.PAD} {
		id, ok := get()
		assert.True(t, ok)
		assert.EqualValues(t, want, id)
	}
	assert.Equal(t, 4096, tok.VocabSize())
	assert.Equal(t, []int32{0, 1}, tok.Encode("</s>", true), "special tokens in text are recognised")
	assert.Equal(t, "", tok.Decode([]int32{0, 1}, true))
	assert.Equal(t, "<s></s>", tok.Decode([]int32{0, 1}, false))
}

func TestLoadErrors(t *testing.T) {
	for config, parts := range map[string][]string{
		`{"eos_token":"<end>"}`:         {"tokenizer_config.json", "eos_token", "<end>"},
		`{"pad_token":7}`:               {"tokenizer_config.json", "pad_token", "a string"},
		`{"pad_token":{"content":[1]}}`: {"tokenizer_config.json", "pad_token.content", "a string"},
		`{"pad_token"`:                  {"tokenizer_config.json", "line 1"},
	} {
		_, err := Load(writeModel(t, config))
		requireFault(t, err, parts...)
	}
	_, err := Load(t.TempDir())
	requireFault(t, err, "tokenizer.json", "save the model's tokenizer")
	assert.ErrorIs(t, err, os.ErrNotExist)

	path := filepath.Join(t.TempDir(), "tokenizer.json.gz")
	require.NoError(t, os.WriteFile(path, []byte("plain"), 0o644))
	_, err = LoadFile(path)
	requireFault(t, err, path)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write([]byte(smallFile("", "", "", "")))
	require.NoError(t, errors.Join(err, w.Close()))
	require.NoError(t, os.WriteFile(path, packed.Bytes()[:packed.Len()-9], 0o644))
	_, err = LoadFile(path)
	requireFault(t, err, path)
}
