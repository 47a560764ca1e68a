package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// component is any normaliser, pre-tokenizer, post-processor or decoder of the
// file; each type reads the fields it has.
type component struct {
	Type string `json:"type"`

	Normalizers   []json.RawMessage `json:"normalizers"`
	PreTokenizers []json.RawMessage `json:"pretokenizers"`
	Processors    []json.RawMessage `json:"processors"`
	Decoders      []json.RawMessage `json:"decoders"`

	Prepend    string       `json:"prepend"`
	Pattern    patternField `json:"pattern"`
	Content    string       `json:"content"`
	StripLeft  bool         `json:"strip_left"`
	StripRight bool         `json:"strip_right"`
	Start      int          `json:"start"`
	Stop       int          `json:"stop"`

	Behaviour        string `json:"behavior"`
	Invert           bool   `json:"invert"`
	IndividualDigits bool   `json:"individual_digits"`
	AddPrefixSpace   *bool  `json:"add_prefix_space"`
	UseRegex         *bool  `json:"use_regex"`
	Replacement      string `json:"replacement"`
	PrependScheme    string `json:"prepend_scheme"`
	Split            *bool  `json:"split"`

	Single        []templatePiece          `json:"single"`
	SpecialTokens map[string]templateToken `json:"special_tokens"`
}

type patternField struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

// Bounds against files that make short texts explode.
const (
	maxNesting = 8    // of Sequence in Sequence
	maxGrowth  = 1024 // of a text by all Replace steps together
)

// flatten decodes a component and the members of Sequences in it, in order, with
// the name of the field each stands in; null gives none.
func (p parser) flatten(field string, raw json.RawMessage, depth int) (parts []component, fields []string, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil, nil
	}
	var c component
	if err := p.decode(field, raw, &c); err != nil {
		return nil, nil, err
	}
	if c.Type != "Sequence" {
		return []component{c}, []string{field}, nil
	}
	if depth == maxNesting {
		return nil, nil, p.bad(field, "Sequences nested too deeply", fmt.Sprintf("at most %d levels", maxNesting), "write one Sequence")
	}
	for _, list := range [][]json.RawMessage{c.Normalizers, c.PreTokenizers, c.Processors, c.Decoders} {
		for i, member := range list {
			inner, names, err := p.flatten(fmt.Sprintf("%s[%d]", field, i), member, depth+1)
			if err != nil {
				return nil, nil, err
			}
			parts, fields = append(parts, inner...), append(fields, names...)
		}
	}
	return parts, fields, nil
}

func (p parser) unsupported(field, kind, known string) error {
	return p.bad(field+".type", fmt.Sprintf("%q", kind), "one of "+known, "use a model of the Llama, Mistral or Qwen family")
}

func (p parser) normalizer(field string, raw json.RawMessage) (normalizers, error) {
	parts, fields, err := p.flatten(field, raw, 0)
	if err != nil {
		return nil, err
	}
	if err := p.checkGrowth(field, parts); err != nil {
		return nil, err
	}
	out := make(normalizers, 0, len(parts))
	for i, c := range parts {
		n, err := p.oneNormalizer(fields[i], c)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func (p parser) oneNormalizer(field string, c component) (normalizer, error) {
	switch c.Type {
	case "NFC":
		return formNormalizer(norm.NFC), nil
	case "NFD":
		return formNormalizer(norm.NFD), nil
	case "NFKC":
		return formNormalizer(norm.NFKC), nil
	case "NFKD":
		return formNormalizer(norm.NFKD), nil
	case "Prepend":
		if len(c.Prepend) > maxPrepend {
			return nil, p.bad(field+".prepend", fmt.Sprintf("%q", c.Prepend), fmt.Sprintf("at most %d bytes", maxPrepend), "correct the file")
		}
		return prependNormalizer(c.Prepend), nil
	case "Lowercase":
		return lowercaseNormalizer{}, nil
	case "Strip":
		return stripNormalizer{c.StripLeft, c.StripRight}, nil
	case "Replace":
		old, err := p.replaced(field, c)
		return replaceNormalizer{old, c.Content}, err
	}
	return nil, p.unsupported(field, c.Type, "NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, Strip, Sequence")
}

// replaced is the string that a Replace step looks for.
func (p parser) replaced(field string, c component) (string, error) {
	if c.Pattern.String != nil {
		return *c.Pattern.String, nil
	}
	found := "nothing"
	if c.Pattern.Regex != nil {
		found = fmt.Sprintf("the regular expression %q", *c.Pattern.Regex)
	}
	return "", p.bad(field+".pattern", found, "a String", "use a model of the Llama, Mistral or Qwen family")
}

// checkGrowth bounds how much longer the Replace steps together make a text.
func (p parser) checkGrowth(field string, parts []component) error {
	growth := 1
	for _, c := range parts {
		if c.Type != "Replace" || c.Pattern.String == nil || *c.Pattern.String == "" {
			continue
		}
		old := len(*c.Pattern.String)
		growth *= max(1, (len(c.Content)+old-1)/old)
		if growth > maxGrowth {
			return p.bad(field, fmt.Sprintf("Replace steps that make a text %d times longer", growth),
				fmt.Sprintf("at most %d times", maxGrowth), "correct the file")
		}
	}
	return nil
}

func (p parser) decoder(raw json.RawMessage) (decoder, error) {
	const field = "decoder"
	parts, fields, err := p.flatten(field, raw, 0)
	if err != nil {
		return nil, err
	}
	if parts == nil {
		return spacedDecoder{}, nil
	}
	if err := p.checkGrowth(field, parts); err != nil {
		return nil, err
	}
	out := make(decoders, 0, len(parts))
	for i, c := range parts {
		d, err := p.oneDecoder(fields[i], c)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func (p parser) oneDecoder(field string, c component) (decoder, error) {
	switch c.Type {
	case "ByteLevel":
		return byteLevelDecoder{}, nil
	case "ByteFallback":
		return byteFallbackDecoder{}, nil
	case "Fuse":
		return fuseDecoder{}, nil
	case "Replace":
		old, err := p.replaced(field, c)
		return replaceDecoder{old, c.Content}, err
	case "Strip":
		err := p.checkChar(field+".content", c.Content)
		return stripDecoder{c.Content, c.Start, c.Stop}, err
	case "Metaspace":
		scheme, err := p.prependScheme(field, c)
		return metaspaceDecoder{c.Replacement, scheme != prependNever}, err
	}
	return nil, p.unsupported(field, c.Type, "ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, Sequence")
}

// checkChar accepts exactly one character.
func (p parser) checkChar(field, text string) error {
	if utf8.RuneCountInString(text) == 1 {
		return nil
	}
	return p.bad(field, fmt.Sprintf("%q", text), "one character", refetch)
}

// prependScheme reads where a Metaspace puts its mark, in the old or new form.
func (p parser) prependScheme(field string, c component) (string, error) {
	if err := p.checkChar(field+".replacement", c.Replacement); err != nil {
		return "", err
	}
	switch scheme := c.PrependScheme; {
	case scheme == "" && c.AddPrefixSpace != nil && !*c.AddPrefixSpace:
		return prependNever, nil
	case scheme == "":
		return prependAlways, nil
	case scheme == prependAlways, scheme == prependFirst, scheme == prependNever:
		return scheme, nil
	}
	return "", p.bad(field+".prepend_scheme", fmt.Sprintf("%q", c.PrependScheme),
		"one of "+strings.Join([]string{prependAlways, prependFirst, prependNever}, ", "), refetch)
}
