package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

func (p parser) preTokenizer(raw json.RawMessage) (preTokenizers, error) {
	const field = "pre_tokenizer"
	parts, fields, err := p.flatten(field, raw, 0)
	if err != nil {
		return nil, err
	}
	out := make(preTokenizers, 0, len(parts))
	byteLevels := 0
	for i, c := range parts {
		if c.Type == "ByteLevel" {
			if byteLevels++; byteLevels > 1 { // each doubles the text
				return nil, p.bad(fields[i], "a second ByteLevel", "at most one", "correct the file")
			}
		}
		step, err := p.onePreTokenizer(fields[i], c)
		if err != nil {
			return nil, err
		}
		out = append(out, step)
	}
	return out, nil
}

func (p parser) onePreTokenizer(field string, c component) (preTokenizer, error) {
	switch c.Type {
	case "ByteLevel":
		step := byteLevel{addSpace: c.AddPrefixSpace == nil || *c.AddPrefixSpace}
		if c.UseRegex == nil || *c.UseRegex {
			step.pattern = scanners[gpt2Pattern]
		}
		return step, nil
	case "Split":
		return p.splitStep(field, c)
	case "Digits":
		if c.IndividualDigits {
			return splitPreTokenizer{digits{}, isolated, false}, nil
		}
		return splitPreTokenizer{digits{}, contiguous, false}, nil
	case "Metaspace":
		scheme, err := p.prependScheme(field, c)
		return metaspace{c.Replacement, scheme, c.Split == nil || *c.Split}, err
	}
	return nil, p.unsupported(field, c.Type, "ByteLevel, Split, Digits, Metaspace, Sequence")
}

func (p parser) splitStep(field string, c component) (preTokenizer, error) {
	known := []string{removed, isolated, mergedWithPrevious, mergedWithNext, contiguous}
	if !slices.Contains(known, c.Behaviour) {
		return nil, p.bad(field+".behavior", fmt.Sprintf("%q", c.Behaviour), "one of "+strings.Join(known, ", "), refetch)
	}
	step := splitPreTokenizer{behaviour: c.Behaviour, invert: c.Invert}
	var err error
	switch {
	case c.Pattern.Regex != nil:
		step.pattern, err = p.regex(field+".pattern", *c.Pattern.Regex)
	case c.Pattern.String != nil && *c.Pattern.String != "":
		step.pattern = literal(*c.Pattern.String)
	default:
		err = p.bad(field+".pattern", "nothing", "a Regex or a String", refetch)
	}
	return step, err
}

// templatePiece is one element of a TemplateProcessing template.
type templatePiece struct {
	SpecialToken *templateID `json:"SpecialToken"`
	Sequence     *templateID `json:"Sequence"`
}

type templateID struct {
	ID string `json:"id"`
}

// templateToken is one entry of special_tokens.
type templateToken struct {
	IDs []int32 `json:"ids"`
}

func (p parser) postProcessor(t *Tokenizer, raw json.RawMessage) ([]template, error) {
	parts, fields, err := p.flatten("post_processor", raw, 0)
	if err != nil {
		return nil, err
	}
	var out []template
	for i, c := range parts {
		switch c.Type {
		case "ByteLevel": // concerns offsets only
		case "TemplateProcessing":
			tmpl, err := p.template(t, fields[i], c)
			if err != nil {
				return nil, err
			}
			out = append(out, tmpl)
		default:
			return nil, p.unsupported(fields[i], c.Type, "TemplateProcessing, ByteLevel, Sequence")
		}
	}
	return out, nil
}

// template reads the tokens around the single sequence A.
func (p parser) template(t *Tokenizer, field string, c component) (template, error) {
	var out template
	side, sequences := &out.before, 0
	for i, piece := range c.Single {
		at := fmt.Sprintf("%s.single[%d]", field, i)
		switch {
		case piece.Sequence != nil && piece.Sequence.ID == "A":
			side = &out.after
			sequences++
		case piece.SpecialToken != nil:
			ids, err := p.templateIDs(t, at, c, piece.SpecialToken.ID)
			if err != nil {
				return out, err
			}
			*side = append(*side, ids...)
		default:
			return out, p.bad(at, "something else", "a SpecialToken or the Sequence A", refetch)
		}
	}
	if sequences != 1 {
		return out, p.bad(field+".single", fmt.Sprintf("the Sequence A %d times", sequences), "it once", refetch)
	}
	return out, nil
}

func (p parser) templateIDs(t *Tokenizer, field string, c component, name string) ([]int32, error) {
	token, ok := c.SpecialTokens[name]
	if !ok {
		return nil, p.bad(field, fmt.Sprintf("%q", name), "a token of special_tokens beside it", refetch)
	}
	for _, id := range token.IDs {
		if _, known := t.pieces[id]; !known {
			return nil, p.bad(field, fmt.Sprintf("%q with id %d", name, id), "an id of the vocabulary", refetch)
		}
	}
	return token.IDs, nil
}
