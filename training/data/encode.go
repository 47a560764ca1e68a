package data

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"trainer/fault"
)

// blockRecords are tokenised together; as many records are held as text.
const blockRecords = 1024

// encoder turns records into examples; it is safe for several threads.
type encoder struct {
	tok     Tokenizer
	eos     int32
	context int
	vocab   int
}

// encoded is an example and the length it had before it was cut.
type encoded struct {
	Example
	length int
}

func newEncoder(opts Options, tok Tokenizer) (*encoder, error) {
	eos, ok := tok.EOS()
	if !ok {
		return nil, &fault.Error{Kind: fault.Files, Where: "tokenizer", Field: "eos_token", Found: "nothing",
			Want: "the token that ends a text", Remedy: "name it in tokenizer_config.json"}
	}
	vocab := opts.VocabSize
	if vocab == 0 {
		vocab = tok.VocabSize()
	}
	return &encoder{tok: tok, eos: eos, context: opts.ContextLength, vocab: vocab}, nil
}

// encodeAll encodes records on every processor. The rows come in the order of
// the records, up to the first that fails.
func (e *encoder) encodeAll(records []Record) ([]encoded, error) {
	rows, errs := make([]encoded, len(records)), make([]error, len(records))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(records)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(records); i = int(next.Add(1)) - 1 {
				rows[i], errs[i] = e.encode(records[i])
			}
		})
	}
	workers.Wait()
	for i, err := range errs {
		if err != nil {
			return rows[:i], err
		}
	}
	return rows, nil
}

func (e *encoder) encode(r Record) (encoded, error) {
	prompt, answer, err := Alpaca(r)
	if err != nil {
		return encoded{}, err
	}
	promptIDs := e.tok.Encode(prompt, true)
	ids := append(e.tok.Encode(prompt+answer, true), e.eos)
	for _, id := range ids {
		if id < 0 || int(id) >= e.vocab {
			return encoded{}, e.unknownID(r, id)
		}
	}
	kept := slices.Clone(ids[:min(len(ids), e.context)])
	labels := slices.Clone(kept)
	for t := range min(len(promptIDs), len(labels)) {
		labels[t] = Ignored
	}
	return encoded{Example{IDs: kept, Labels: labels, Row: r.Row}, len(ids)}, nil
}

func (e *encoder) unknownID(r Record, id int32) error {
	return &fault.Error{Kind: fault.Files, Where: r.File, Field: fmt.Sprintf("line %d", r.At.Line),
		Found: fmt.Sprintf("token id %d", id), Want: fmt.Sprintf("ids below the model's vocabulary of %d", e.vocab),
		Remedy: "use the tokenizer that belongs to the model"}
}
