package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// hard are inputs that make a careless tokenizer quadratic, of about n bytes.
func hard(n int) map[string]string {
	of := func(unit string) string { return strings.Repeat(unit, n/len(unit)) }
	r := rand.New(rand.NewPCG(1, 2))
	letters := make([]byte, n)
	for i := range letters {
		letters[i] = byte('a' + r.IntN(26))
	}
	return map[string]string{
		"spaces": of(" "), "newlines": of("\n"), "spaces and newlines": of(" \n "), "tabs": of("\t"),
		"a": of("a"), "random letters": string(letters), "digits": of("7"), "punctuation": of("!"),
		"apostrophes": of("'"), "words": of("the quick brown fox "), "one mark": "e" + of("\u0301"),
		"two marks": "e" + of("\u0301\u0323"), "half a token": of("<|im_start|"), "tokens": of("</s>"),
		"emoji": of("🙂"), "space marks": of("▁"), "invalid": of("\xff"), "nulls": of("\x00"),
	}
}

// The bound is generous, for slow and busy machines: one quadratic step
// takes longer than that.
func TestHardInputIsFast(t *testing.T) {
	if testing.Short() {
		t.Skip("encodes some 4 MiB")
	}
	for _, name := range []string{"llama2", "qwen2"} {
		tok := fixture(t, name)
		for kind, text := range hard(1 << 16) {
			start := time.Now()
			ids := tok.Encode(text, false)
			tok.Decode(ids, false)
			took := time.Since(start)
			t.Logf("%s, %s: %v", name, kind, took)
			assert.Less(t, took, 2*time.Second, "%s, %s", name, kind)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, name := range fixtures {
		tok := fixture(b, name)
		for kind, text := range hard(1 << 20) {
			b.Run(name+"/"+strings.ReplaceAll(kind, " ", "-"), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					tok.Encode(text, false)
				}
			})
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, name := range fixtures {
		raw := fixtureFile(b, name)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := Parse(name, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
