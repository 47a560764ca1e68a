package data

import (
	"math"
	"slices"
)

// Rendered is an example as a person reads it.
type Rendered struct {
	Row      int               `json:"row"`
	Prompt   string            `json:"prompt"`   // the text in front of the first learned token
	Answer   string            `json:"answer"`   // the text from there on
	Passages []RenderedPassage `json:"passages"` // the whole text, cut where learning begins or ends
	Tokens   []RenderedToken   `json:"tokens"`
}

// RenderedPassage is the text of neighbouring tokens that are all masked or all learned.
type RenderedPassage struct {
	Text   string `json:"text"`
	Masked bool   `json:"masked"`
}

// RenderedToken is one token; its text alone may be part of a character.
type RenderedToken struct {
	ID     int32  `json:"id"`
	Text   string `json:"text"`
	Masked bool   `json:"masked"`
}

// Render decodes an example, token by token and passage by passage.
func Render(e Example, tok Tokenizer) Rendered {
	r := Rendered{Row: e.Row}
	first := len(e.IDs)
	for from := 0; from < len(e.IDs); {
		masked, to := e.Labels[from] == Ignored, from
		for to < len(e.IDs) && (e.Labels[to] == Ignored) == masked {
			r.Tokens = append(r.Tokens, RenderedToken{ID: e.IDs[to], Text: tok.Decode(e.IDs[to:to+1], false), Masked: masked})
			to++
		}
		if !masked {
			first = min(first, from)
		}
		r.Passages = append(r.Passages, RenderedPassage{tok.Decode(e.IDs[from:to], true), masked})
		from = to
	}
	r.Prompt = tok.Decode(e.IDs[:first], true)
	r.Answer = tok.Decode(e.IDs[first:], true)
	return r
}

// Lengths describes the tokens per record, before cutting.
type Lengths struct {
	Min            int     `json:"min"`
	Mean           float64 `json:"mean"`
	P50            int     `json:"p50"`
	P90            int     `json:"p90"`
	P99            int     `json:"p99"`
	Max            int     `json:"max"`
	ShareTruncated float64 `json:"share_truncated"` // of the records
	ShareMasked    float64 `json:"share_masked"`    // of the kept tokens
}

// Lengths computes the statistics of a data set with at least one record. A
// percentile is the smallest length that at least that share does not exceed.
func (d *Dataset) Lengths() Lengths {
	sorted := slices.Sorted(slices.Values(d.lengths))
	at := func(share float64) int {
		return int(sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)])
	}
	sum := 0
	for _, n := range sorted {
		sum += int(n)
	}
	n := float64(len(sorted))
	return Lengths{
		Min: at(0), Mean: float64(sum) / n, P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: at(1),
		ShareTruncated: float64(d.Stats.Truncated) / n,
		ShareMasked:    1 - float64(d.Stats.Labelled)/float64(d.Stats.Tokens),
	}
}
