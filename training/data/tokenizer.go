package data

// Tokenizer is what this room needs of a tokenizer. Load calls it from several
// threads at once.
type Tokenizer interface {
	// Encode gives the token ids of UTF-8 text; addSpecial frames them as the
	// model expects, for example with a token for the beginning of the text.
	// The caller owns the slice.
	Encode(text string, addSpecial bool) []int32
	// Decode gives the text of ids; skipSpecial leaves special tokens out.
	Decode(ids []int32, skipSpecial bool) string
	// EOS is the id that ends a text, and whether there is one.
	EOS() (int32, bool)
	// PAD is the id that fills a row, and whether there is one.
	PAD() (int32, bool)
	// VocabSize is the number of ids; every id is below it.
	VocabSize() int
}
