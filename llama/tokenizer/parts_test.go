package tokenizer

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
)

// pieces cuts text by a pattern.
func pieces(p pattern, text string) []string {
	var out []string
	for _, s := range p.spans(text) {
		out = append(out, text[s.lo:s.hi])
	}
	return out
}

// Expected cuts follow from the regular expressions, alternative by alternative.
func TestScanners(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          []string
	}{
		{gpt2Pattern, "I'll  go 12a!", []string{"I", "'ll", " ", " go", " 12", "a", "!"}},
		{gpt2Pattern, "I'LL \n\nx  ", []string{"I", "'", "LL", " \n", "\n", "x", "  "}},
		{llama3Pattern, "I'LL 12345 \tx!!\n\n y", []string{"I", "'LL", " ", "123", "45", " ", "\tx", "!!\n\n", " y"}},
		{llama3Pattern, "a \r\n  \n b 'ſx", []string{"a", " \r\n  \n", " b", " '", "ſx"}},
		{llama3Pattern, "b'ſx", []string{"b", "'ſ", "x"}},
		{qwen2Pattern, "12 ½", []string{"1", "2", " ", "½"}},
	} {
		assert.Equal(t, c.want, pieces(scanners[c.pattern], c.text), "%q", c.text)
	}
}

func TestTranslateRegex(t *testing.T) {
	p := parser{"x"}
	for text, want := range map[string][]string{
		`\s+`:         {"a", "\u00a0\u3000", "b1", " ", "2٣"},
		`[^\s]+`:      {"a", "\u00a0\u3000", "b1", " ", "2٣"},
		`\d`:          {"a\u00a0\u3000b", "1", " ", "2", "٣"},
		`(?i:B)|\S2?`: {"a", "\u00a0\u3000", "b", "1", " ", "2", "٣"},
	} {
		re, err := p.regex("f", text)
		require.NoError(t, err, text)
		var got []string
		for _, s := range pieces(re, "a\u00a0\u3000b1 2٣") {
			if s != "" {
				got = append(got, s)
			}
		}
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{`[a[b]]`, `[a&&b]`, `[\S]`, `\bx`, `(?m:x)`, `a(?i)b`, `a{,2}`, `[]x]`, `a{2}?`, `(?<!a)b`, strings.Repeat("a", 5000)} {
		_, err := p.regex("f", text)
		requireFault(t, err, "f.Regex")
	}
}

// Short runs of marks are what package norm does right, so both ways must agree.
func TestNormalizeLong(t *testing.T) {
	for _, form := range []norm.Form{norm.NFC, norm.NFD, norm.NFKC, norm.NFKD} {
		for _, text := range append(roundTrips, "e\u0323\u0301x", "e\u0301\u0323", "ạ\u0302ﬁ²", "\u1100\u1161\u11a8", "각\u11a8", "\u0344\u0f73", "\u0301\u0301") {
			assert.Equal(t, form.String(text), normalizeLong(form, text), "%q", text)
		}
	}
	long := "a" + strings.Repeat("\u0301\u0323", 40)
	want := "ạ\u0301"[:3] + strings.Repeat("\u0323", 39) + strings.Repeat("\u0301", 40)
	assert.Equal(t, want, formNormalizer(norm.NFC).normalize(long))
}

func TestLossyUTF8(t *testing.T) {
	for in, want := range map[string]string{
		"ok é": "ok é", "\xff": "\ufffd", "\xe4\xbd": "\ufffd", "\xe4\xbdx": "\ufffdx", "\xf0\x9f\x99": "\ufffd",
		"\xf0\x9f\x99\xff": "\ufffd\ufffd", "\xed\xa0\x80": "\ufffd\ufffd\ufffd", "\xc0\x80": "\ufffd\ufffd",
		"\xf4\x90\x80\x80": "\ufffd\ufffd\ufffd\ufffd", "\xe4\xe4\xbd\xa0": "\ufffd你",
	} {
		assert.Equal(t, want, lossyUTF8([]byte(in)), "%x", in)
	}
}

func TestConcurrentUse(t *testing.T) {
	tok, err := Parse("x", fixtureFile(t, "demo-2m"))
	require.NoError(t, err)
	want := make([][]int32, len(roundTrips))
	for i, text := range roundTrips {
		want[i] = fixture(t, "demo-2m").Encode(text, true)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i, text := range roundTrips {
				assert.Equal(t, want[i], tok.Encode(text, true))
			}
		})
	}
	wg.Wait()
}

func TestCacheIsBounded(t *testing.T) {
	c := newWordCache()
	for i := range cacheWords + 5 {
		c.put(strings.Repeat("x", i%64)+string(rune(0x4e00+i)), []int32{int32(i)})
	}
	assert.LessOrEqual(t, len(c.words), cacheWords)
	c.put(strings.Repeat("x", cacheWordLen+1), nil)
	_, ok := c.get(strings.Repeat("x", cacheWordLen+1))
	assert.False(t, ok)
}
