package tokenizer

import "path/filepath"

// Vocabulary is what a tokenizer.json holds, for those who write it in another format.
type Vocabulary struct {
	Pieces       []Piece     // by id
	Merges       [][2]string // first merges first
	ByteLevel    bool        // pieces are written in GPT-2's letters for bytes; else spaces are ▁
	ByteFallback bool        // characters that are no pieces are written as bytes
	IgnoreMerges bool        // a word that is a piece is not merged together
	SpacePrefix  bool        // a space is put before every text
	Forms        []string    // types of normalisers, but for those about spaces
	Cuts         []string    // patterns that cut texts into words, one after the other; digits = DigitsCut
}

// DigitsCut stands in Vocabulary.Cuts for cutting digits one by one, GPT2Cut, Llama3Cut and
// Qwen2Cut are the patterns of these models.
const (
	DigitsCut = `\d`
	GPT2Cut   = gpt2Pattern
	Llama3Cut = llama3Pattern
	Qwen2Cut  = qwen2Pattern
)

// Piece is a token as the file writes it.
type Piece struct {
	Text string
	Kind Kind
}

// Kind is what a token is for.
type Kind uint8

const (
	Unused  Kind = iota // no token has the id
	Normal              // a piece of text
	Unknown             // stands for what cannot be expressed
	Control             // special: <s>, </s>
	Added               // found in the text as a whole
	Byte                // one byte: <0x0A>
)

// ReadVocabulary reads the tokenizer.json of a model folder. Every error is a *fault.Error
// of kind Files.
func ReadVocabulary(dir string) (*Vocabulary, error) {
	path := filepath.Join(dir, "tokenizer.json")
	raw, err := readFile(path, maxFile)
	if err != nil {
		return nil, err
	}
	return ParseVocabulary(path, raw)
}

// ParseVocabulary reads the content of a tokenizer.json; name is what errors call it.
func ParseVocabulary(name string, raw []byte) (*Vocabulary, error) {
	t, err := Parse(name, raw)
	if err != nil {
		return nil, err
	}
	p := parser{name}
	var f file
	var m modelFile
	if err := p.decode("", raw, &f); err != nil {
		return nil, err
	}
	if err := p.decode("model", f.Model, &m); err != nil {
		return nil, err
	}
	v := &Vocabulary{ByteFallback: m.ByteFallback, IgnoreMerges: m.IgnoreMerges, Pieces: t.kinds(f)}
	if v.Merges, err = p.mergePairs(m.Merges); err != nil {
		return nil, err
	}
	return v, p.describeWay(v, f)
}

// kinds lists the pieces by id.
func (t *Tokenizer) kinds(f file) []Piece {
	pieces := make([]Piece, t.vocabSize)
	for id, text := range t.pieces {
		pieces[id] = Piece{text, Normal}
	}
	if t.model.bytes != nil {
		for _, id := range t.model.bytes {
			if id >= 0 {
				pieces[id].Kind = Byte
			}
		}
	}
	for _, added := range f.AddedTokens {
		pieces[added.ID].Kind = Added
		if added.Special {
			pieces[added.ID].Kind = Control
		}
	}
	if t.model.unknown >= 0 {
		pieces[t.model.unknown].Kind = Unknown
	}
	return pieces
}

// describeWay says what is done to a text before the model.
func (p parser) describeWay(v *Vocabulary, f file) error {
	normalizers, _, err := p.flatten("normalizer", f.Normalizer, 0)
	if err != nil {
		return err
	}
	for _, c := range normalizers {
		switch {
		case c.Type == "Prepend" && c.Prepend == spaceMark:
			v.SpacePrefix = true
		case c.Type == "Replace" && c.Pattern.String != nil && *c.Pattern.String == " " && c.Content == spaceMark:
		default:
			v.Forms = append(v.Forms, c.Type)
		}
	}
	steps, _, err := p.flatten("pre_tokenizer", f.PreTokenizer, 0)
	if err != nil {
		return err
	}
	for _, c := range steps {
		if err := v.describeStep(p, c); err != nil {
			return err
		}
	}
	return nil
}

func (v *Vocabulary) describeStep(p parser, c component) error {
	switch c.Type {
	case "ByteLevel":
		v.ByteLevel = true
		v.SpacePrefix = v.SpacePrefix || c.AddPrefixSpace == nil || *c.AddPrefixSpace
		if c.UseRegex == nil || *c.UseRegex {
			v.Cuts = append(v.Cuts, GPT2Cut)
		}
	case "Digits":
		cut := `\d+`
		if c.IndividualDigits {
			cut = DigitsCut
		}
		v.Cuts = append(v.Cuts, cut)
	case "Metaspace":
		scheme, err := p.prependScheme("pre_tokenizer", c)
		v.SpacePrefix = v.SpacePrefix || scheme != prependNever
		return err
	case "Split":
		v.Cuts = append(v.Cuts, describeSplit(c))
	}
	return nil
}

// describeSplit is the pattern of a Split; with another behaviour than the usual, that too.
func describeSplit(c component) string {
	pattern := ""
	switch {
	case c.Pattern.Regex != nil:
		pattern = *c.Pattern.Regex
	case c.Pattern.String != nil:
		pattern = *c.Pattern.String
	}
	// Where the pattern matches everything, cutting out and removing the rest are alike.
	if c.Behaviour == isolated || c.Behaviour == removed && c.Invert {
		return pattern
	}
	return c.Behaviour + " " + pattern
}
