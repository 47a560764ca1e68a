package data

import (
	"errors"
	"fmt"

	"trainer/fault"
)

// Ignored is the label of a position nobody learns from: prompt and padding.
const Ignored int32 = -100

// Options say what to read and how to cut it.
type Options struct {
	Format        string // how records are laid out, or the type of the file; "" or "auto" = found out
	Samples       int    // only the first records; 0 or less = all, or as many as a named set says
	ContextLength int    // most tokens of a row, at least 2; longer ones are cut on the right
	VocabSize     int    // ids the model knows; 0 = as many as the tokenizer has
	Seed          uint64 // of the run: chooses the rows of the set named sql
	Chat          *Chat  // the model's chat template, which conversations need; nil = none
}

// Example is one row to learn from.
type Example struct {
	IDs    []int32 // prompt, answer and the end-of-text token, at most ContextLength
	Labels []int32 // as long; IDs, but Ignored over the prompt. Not shifted: Labels[t] is token t itself
	Row    int     // record number in the data set from 0: the row's identity for random numbers
	Parts  []Part  // the samples in it where it is packed; nil = one sample
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
	Format   string  // how its records are laid out
	lengths  []int32 // tokens of every record, before cutting
}

// Load reads the data set that a name, file or folder stands for and tokenises it in
// parallel, in file order whatever the number of threads. The format of the first record is
// that of all, unless opts forces one. A prompt and the prompt with its answer are encoded
// separately, both with special tokens; the example ends with the end-of-text token, and
// its labels are masked over as many positions as the prompt has ids. A conversation is
// encoded as its chat template writes it. A row without a label left is skipped and
// counted. Errors are *fault.Error: broken records, ids the model does not know, no row to
// learn from.
func Load(name string, opts Options, tok Tokenizer) (*Dataset, error) {
	if opts.ContextLength < 2 {
		return nil, &fault.Error{Kind: fault.Usage, Where: "--context_length", Found: fmt.Sprint(opts.ContextLength), Want: "at least 2"}
	}
	e, err := newEncoder(opts, tok)
	if err != nil {
		return nil, err
	}
	d := &Dataset{}
	err = d.load(name, opts, e)
	if err != nil {
		return nil, err
	}
	d.Format = e.format.name
	return d, nil
}

func (d *Dataset) load(name string, opts Options, e *encoder) error {
	block, size := make([]Record, 0, blockRecords), 0
	flush := func() error {
		rows, err := e.encodeAll(block)
		d.add(rows, opts.ContextLength)
		block, size = block[:0], 0
		return err
	}
	err := readRecords(name, opts, func(r Record, f *format) error {
		e.format = f
		block = append(block, r)
		if size += r.size(); len(block) == blockRecords || size >= blockBytes {
			return flush()
		}
		return nil
	})
	// A record before the broken one may be at fault too, and comes first.
	if earlier := flush(); earlier != nil {
		return earlier
	}
	if err != nil {
		return err
	}
	return d.checkUsable(name)
}

// readRecords yields the records of a data set, each with the format of them all.
func readRecords(name string, opts Options, yield func(Record, *format) error) error {
	kind, f, err := splitFormat(opts.Format)
	if err != nil {
		return err
	}
	s, err := openSource(name, kind, opts)
	if err != nil {
		return err
	}
	if n, ok := named[name]; ok && f == nil {
		_, f, _ = splitFormat(n.format)
	}
	return s.read(func(r Record) error {
		if f == nil {
			if f, err = detect(r); err != nil {
				return err
			}
		}
		return yield(r, f)
	})
}

// Check looks at the first record of a data set, so that a mistake shows before anything
// is started.
func Check(name string, opts Options) error {
	err := readRecords(name, opts, func(Record, *format) error { return errEnough })
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// ExampleLengths are the tokens of each example, for a Sampler.
func (d *Dataset) ExampleLengths() []int32 {
	lengths := make([]int32, len(d.Examples))
	for i, e := range d.Examples {
		lengths[i] = int32(len(e.IDs))
	}
	return lengths
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
		return &fault.Error{Kind: fault.Files, Where: path, Found: "no record", Want: "at least one",
			Remedy: "name a file with examples"}
	}
	return &fault.Error{Kind: fault.Files, Where: path,
		Found:  fmt.Sprintf("%d records and no answer within the context length in any", s.Records),
		Want:   "at least one row to learn from",
		Remedy: fmt.Sprintf("--context_length %d fits all", s.MaxLength)}
}
