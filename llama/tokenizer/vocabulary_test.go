package tokenizer

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A vocabulary says all that the file says of pieces, merges and words.
func TestVocabularyDescribesTheFile(t *testing.T) {
	v, err := ReadVocabulary(filepath.Join(testdata, "models", "demo-2m"))
	require.NoError(t, err)
	require.Len(t, v.Pieces, 4096)
	require.Len(t, v.Merges, 3837)
	require.Equal(t, []Piece{{"<s>", Control}, {"</s>", Control}, {"<pad>", Control}, {"!", Normal}}, v.Pieces[:4])
	require.Equal(t, [2]string{"Ġ", "t"}, v.Merges[0])
	require.Equal(t, []any{true, false, false, false, []string{Llama3Cut}}, []any{v.ByteLevel, v.ByteFallback, v.IgnoreMerges, v.SpacePrefix, v.Cuts})
	require.Empty(t, v.Forms)
	_, err = ReadVocabulary(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestVocabularyDescribesWays(t *testing.T) {
	const model = `"model":{"type":"BPE","byte_fallback":true,"unk_token":"u","vocab":{"u":0,"<0x0A>":1,"a":2},"merges":[]},"added_tokens":[{"id":4,"content":"x"}]`
	for way, want := range map[string]Vocabulary{
		`"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}`: {SpacePrefix: true},
		`"normalizer":{"type":"NFKC"},"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}`:                                {SpacePrefix: true, Forms: []string{"NFKC"}},
		`"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"never"}`:                                                             {},
		`"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel"}]}`:                       {ByteLevel: true, SpacePrefix: true, Cuts: []string{DigitsCut, GPT2Cut}},
		`"pre_tokenizer":{"type":"Digits"}`: {Cuts: []string{`\d+`}},
		`"pre_tokenizer":{"type":"Split","pattern":{"String":"a"},"behavior":"MergedWithNext","invert":false}`: {Cuts: []string{"MergedWithNext a"}},
	} {
		v, err := ParseVocabulary("a", []byte(fmt.Sprintf("{%s,%s}", way, model)))
		require.NoError(t, err, way)
		require.Equal(t, []Piece{{"u", Unknown}, {"<0x0A>", Byte}, {"a", Normal}, {}, {"x", Added}}, v.Pieces)
		require.True(t, v.ByteFallback)
		require.Equal(t, want, Vocabulary{SpacePrefix: v.SpacePrefix, ByteLevel: v.ByteLevel, Forms: v.Forms, Cuts: v.Cuts}, way)
	}
}
