package data

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"trainer/fault"
)

// Records that are tokenised together, and so held as text: as many, or as large.
const (
	blockRecords = 1024
	blockBytes   = 32 << 20
)

// encoder turns records into examples; it is safe for several threads.
type encoder struct {
	tok     Tokenizer
	chat    *Chat
	format  *format
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
	return &encoder{tok: tok, chat: opts.Chat, eos: eos, context: opts.ContextLength, vocab: vocab}, nil
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
	p, err := e.format.render(r, e.chat)
	if err != nil {
		return encoded{}, err
	}
	ids := e.tok.Encode(p.text, p.framed)
	if p.framed {
		ids = append(ids, e.eos)
	}
	for _, id := range ids {
		if id < 0 || int(id) >= e.vocab {
			return encoded{}, e.unknownID(r, id)
		}
	}
	kept := slices.Clone(ids[:min(len(ids), e.context)])
	return encoded{Example{IDs: kept, Labels: e.labels(p, kept, len(ids)), Row: r.Row}, len(ids)}, nil
}

// labels are the kept ids where they are learned. Where a span begins or ends inside the
// text, as many tokens lie before as the text before has by itself.
func (e *encoder) labels(p passage, kept []int32, length int) []int32 {
	labels := make([]int32, len(kept))
	for t := range labels {
		labels[t] = Ignored
	}
	for _, s := range p.learn {
		from := len(e.tok.Encode(p.text[:s.from], p.framed))
		if from >= len(kept) {
			break
		}
		to := length
		if s.to < len(p.text) {
			to = len(e.tok.Encode(p.text[:s.to], p.framed))
		}
		for t := from; t < min(to, len(kept)); t++ {
			labels[t] = kept[t]
		}
	}
	return labels
}

func (e *encoder) unknownID(r Record, id int32) error {
	return &fault.Error{Kind: fault.Files, Where: r.File, Field: r.At.String(),
		Found: fmt.Sprintf("token id %d", id), Want: fmt.Sprintf("ids below the model's vocabulary of %d", e.vocab),
		Remedy: "use the tokenizer that belongs to the model"}
}
