package data

import (
	"fmt"

	"trainer/fault"
)

// Ignored is the label of a position nobody learns from: prompt and padding.
const Ignored int32 = -100

// Options say what to read and how to cut it.
type Options struct {
	Format        string // JSON, JSONL, or "" for what the file name says
	Samples       int    // only the first records; 0 or less = all
	ContextLength int    // most tokens of a row, at least 2; longer ones are cut on the right
	VocabSize     int    // ids the model knows; 0 = as many as the tokenizer has
}

// Example is one row to learn from.
type Example struct {
	IDs    []int32 // prompt, answer and the end-of-text token, at most ContextLength
	Labels []int32 // as long; IDs, but Ignored over the prompt. Not shifted: Labels[t] is token t itself
	Row    int     // record number in the file from 0: the row's identity for random numbers
}

// Stats count what Load did.
type Stats struct {
	Records   int `json:"records"`         // read
	Examples  int `json:"examples"`        // kept
	Skipped   int `json:"skipped"`         // left out: nothing to learn from within the context length
	Truncated int `json:"truncated"`       // longer than the context length, skipped ones included
	MaxLength int `json:"max_length"`      // tokens of the longest record: the context length that fits all
	Tokens    int `json:"tokens"`          // in the examples, after cutting
	Labelled  int `json:"labelled_tokens"` // those that some position learns to predict
}

// Dataset is what Load made of a file, in file order.
type Dataset struct {
	Examples []Example
	Stats    Stats
	lengths  []int32 // tokens of every record, before cutting
}

// Load reads alpaca records from path and tokenises them in parallel, in file
// order whatever the number of threads. Prompt and prompt with answer are encoded
// separately, both with special tokens; the example ends with the end-of-text
// token, and its labels are masked over as many positions as the prompt has ids.
// A row without a label left is skipped and counted. Errors are *fault.Error:
// broken records, ids the model does not know, no row to learn from.
func Load(path string, opts Options, tok Tokenizer) (*Dataset, error) {
	if opts.ContextLength < 2 {
		return nil, &fault.Error{Kind: fault.Usage, Where: "--context_length", Found: fmt.Sprint(opts.ContextLength), Want: "at least 2"}
	}
	e, err := newEncoder(opts, tok)
	if err != nil {
		return nil, err
	}
	d := &Dataset{}
	block := make([]Record, 0, blockRecords)
	flush := func() error {
		rows, err := e.encodeAll(block)
		d.add(rows, opts.ContextLength)
		block = block[:0]
		return err
	}
	err = ReadRecords(path, opts.Format, opts.Samples, func(r Record) error {
		if block = append(block, r); len(block) == blockRecords {
			return flush()
		}
		return nil
	})
	// A record before the broken one may be at fault too, and comes first.
	if earlier := flush(); earlier != nil {
		return nil, earlier
	}
	if err != nil {
		return nil, err
	}
	return d, d.checkUsable(path)
}

func (d *Dataset) add(rows []encoded, context int) {
	s := &d.Stats
	for _, r := range rows {
		s.Records++
		s.MaxLength = max(s.MaxLength, r.length)
		d.lengths = append(d.lengths, int32(r.length))
		if r.length > context {
			s.Truncated++
		}
		labelled := countTargets(r.Labels)
		if labelled == 0 {
			s.Skipped++
			continue
		}
		s.Examples++
		s.Tokens += len(r.IDs)
		s.Labelled += labelled
		d.Examples = append(d.Examples, r.Example)
	}
}

// countTargets counts the labels that a position before them predicts.
func countTargets(labels []int32) int {
	n := 0
	for t := 1; t < len(labels); t++ {
		if labels[t] != Ignored {
			n++
		}
	}
	return n
}

func (d *Dataset) checkUsable(path string) error {
	s := d.Stats
	switch {
	case s.Examples > 0:
		return nil
	case s.Records == 0:
		return &fault.Error{Kind: fault.Files, Where: path, Found: "no record", Want: "at least one with instruction and output",
			Remedy: "name a file with examples"}
	}
	return &fault.Error{Kind: fault.Files, Where: path,
		Found:  fmt.Sprintf("%d records and no answer within the context length in any", s.Records),
		Want:   "at least one row to learn from",
		Remedy: fmt.Sprintf("--context_length %d fits all", s.MaxLength)}
}
