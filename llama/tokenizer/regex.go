package tokenizer

import (
	"fmt"
	"regexp"
	"strings"
)

// Hugging Face tokenizers write patterns in Oniguruma's language. Where Go's
// linear-time one says the same, or can be made to, it is used; a pattern that
// would mean something else is refused. Letters and numbers are those of Go's
// Unicode version.

const maxPattern = 4096 // bytes

// regexPattern matches a regular expression.
type regexPattern struct{ re *regexp.Regexp }

func (p regexPattern) spans(text string) []span {
	var out []span
	lo := 0
	for _, m := range p.re.FindAllStringIndex(text, -1) {
		if lo < m[0] {
			out = append(out, span{lo, m[0], false})
		}
		out = append(out, span{m[0], m[1], true})
		lo = m[1]
	}
	return append(out, span{lo, len(text), false})
}

// regex finds the scanner of a known pattern, or compiles it.
func (p parser) regex(field, text string) (pattern, error) {
	if s, ok := scanners[text]; ok {
		return s, nil
	}
	translated, err := translateRegex(text)
	if err == nil {
		var re *regexp.Regexp
		if re, err = regexp.Compile(translated); err == nil {
			return regexPattern{re}, nil
		}
	}
	return nil, p.bad(field+".Regex", fmt.Sprintf("%q (%v)", text, err),
		"the pattern of GPT-2, Llama 3 or Qwen2, or one that Go's regular expressions can express",
		"use a model of the Llama, Mistral or Qwen family")
}

// Unicode's white space, as Oniguruma's \s, for use inside brackets.
const spaceSet = `\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}`

// translateRegex rewrites what Go reads as ASCII only, and refuses what means
// something else in Go.
func translateRegex(text string) (string, error) {
	if len(text) > maxPattern {
		return "", fmt.Errorf("longer than %d bytes", maxPattern)
	}
	var out strings.Builder
	out.WriteString("(?m)") // ^ and $ are line anchors there
	inSet := false
	for i := 0; i < len(text); i++ {
		if err := checkForeign(text[i:], i == 0, inSet); err != nil {
			return "", err
		}
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			out.WriteString(translateEscape(text[i:i+1], inSet))
			continue
		case c == '[':
			inSet = true
		case c == ']':
			inSet = false
		}
		out.WriteByte(text[i])
	}
	return out.String(), nil
}

// translateEscape rewrites the escape \c.
func translateEscape(c string, inSet bool) string {
	switch {
	case c == "s" && inSet:
		return spaceSet
	case c == "s":
		return "[" + spaceSet + "]"
	case c == "S":
		return "[^" + spaceSet + "]"
	case c == "d":
		return `\p{Nd}`
	case c == "D":
		return `\P{Nd}`
	}
	return `\` + c
}

var (
	foreignEscape = regexp.MustCompile(`^\\[wWbBQEC]`)
	foreignInSet  = regexp.MustCompile(`^(\[|&&|\\S)`)
	foreignOut    = regexp.MustCompile(`^(\[\^?\]|\{,|\}\?)`)
	flagGroup     = regexp.MustCompile(`^\(\?[a-zA-Z-]+[:)]`)
	knownFlags    = regexp.MustCompile(`^\(\?-?i(:|\))`)
)

// checkForeign refuses the constructs at the start of text that both languages
// have with different meanings. Flags are accepted for a group or, at the very
// beginning, for the whole pattern.
func checkForeign(text string, atStart, inSet bool) error {
	text = text[:min(len(text), 16)]
	foreign := foreignEscape.FindString(text)
	switch {
	case foreign != "":
	case inSet:
		foreign = foreignInSet.FindString(text)
	default:
		foreign = foreignOut.FindString(text)
		flags := flagGroup.FindString(text)
		if flags != "" && (!knownFlags.MatchString(flags) || strings.HasSuffix(flags, ")") && !atStart) {
			foreign = flags
		}
	}
	if foreign != "" {
		return fmt.Errorf("%s means something else in Go", foreign)
	}
	return nil
}
