package data

// Part is one sample of a packed row.
type Part struct {
	Row    int // record number, as Example.Row
	Length int // tokens
}

// Batch is a rectangle of rows padded on the right. Its flat slices are row by
// row: position t of row r is at r·Seq + t.
type Batch struct {
	Rows, Seq int
	IDs       []int32 // [Rows·Seq] tokens, padding filled with the pad id
	// Labels [Rows·Seq] are shifted: the label of position t is the token that
	// should follow it, Ignored where there is none to learn and at the end of
	// every row. A loss compares the logits of t with the label of t.
	Labels    []int32
	Positions []int32 // [Rows·Seq] 0, 1, 2 … in every sample, on through the padding
	Samples   []int32 // [Rows·Seq] record numbers: who a token is to random numbers
	// Segments [Rows·Seq] number the samples of a row from 0, and padding as one more: only
	// tokens of one segment attend to each other. Nil where no row is packed.
	Segments  []int32
	Lengths   []int32 // [Rows] tokens without padding
	LabelRows []int32 // flat indices of the positions with a label, ascending
	Targets   []int32 // their labels
	Tokens    int     // sum of Lengths
	Labelled  int     // len(LabelRows)
}

// Collate pads examples to the longest of them, rounded up to a multiple of
// roundTo (1 or more), so that few shapes occur. That may exceed the context
// length by less than roundTo; the positions beyond it are padding. Packed and
// single examples may be mixed.
func Collate(examples []Example, padID int32, roundTo int) Batch {
	b := Batch{Rows: len(examples)}
	packed := false
	for _, e := range examples {
		b.Seq = max(b.Seq, len(e.IDs))
		packed = packed || e.Parts != nil
	}
	b.Seq = (b.Seq + roundTo - 1) / roundTo * roundTo
	size := b.Rows * b.Seq
	b.IDs, b.Labels = make([]int32, size), make([]int32, size)
	b.Positions, b.Samples = make([]int32, size), make([]int32, size)
	if packed {
		b.Segments = make([]int32, size)
	}
	for r, e := range examples {
		b.fill(r*b.Seq, e, padID)
		b.place(r*b.Seq, e)
		b.Lengths = append(b.Lengths, int32(len(e.IDs)))
		b.Tokens += len(e.IDs)
	}
	b.Labelled = len(b.LabelRows)
	return b
}

// fill lays out the tokens of one row from flat index `start` on.
func (b *Batch) fill(start int, e Example, padID int32) {
	for t := range b.Seq {
		i := start + t
		b.IDs[i], b.Labels[i] = padID, Ignored
		if t < len(e.IDs) {
			b.IDs[i] = e.IDs[t]
		}
		if t+1 < len(e.Labels) && e.Labels[t+1] != Ignored {
			b.Labels[i] = e.Labels[t+1]
			b.LabelRows = append(b.LabelRows, int32(i))
			b.Targets = append(b.Targets, e.Labels[t+1])
		}
	}
}

// place says which sample each token of a row belongs to and where it stands in it;
// padding continues the last sample's positions.
func (b *Batch) place(start int, e Example) {
	parts := e.Parts
	if parts == nil {
		parts = []Part{{Row: e.Row, Length: len(e.IDs)}}
	}
	at, end := start, start+b.Seq
	for segment, part := range parts {
		stop := at + part.Length
		if segment == len(parts)-1 {
			stop = end
		}
		for t := 0; at < stop; t++ {
			b.Positions[at], b.Samples[at] = int32(t), int32(part.Row)
			if b.Segments != nil {
				b.Segments[at] = int32(segment)
				if at >= start+len(e.IDs) {
					b.Segments[at]++
				}
			}
			at++
		}
	}
}

// Select gives the examples with these indices, as MicroBatches names them.
func (d *Dataset) Select(indices []int) []Example {
	examples := make([]Example, len(indices))
	for i, index := range indices {
		examples[i] = d.Examples[index]
	}
	return examples
}

// PadID is the id that fills rows: the tokenizer's pad token, else its
// end-of-text token, else 0. Nobody learns from padding nor attends to it.
func PadID(tok Tokenizer) int32 {
	if id, ok := tok.PAD(); ok {
		return id
	}
	id, _ := tok.EOS()
	return id
}
