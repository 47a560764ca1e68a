package tokenizer

import (
	"strconv"
	"strings"
)

// decoder turns pieces back into text, by rewriting the list of pieces.
type decoder interface {
	decode(pieces []string) []string
}

// decoders runs several in order.
type decoders []decoder

func (d decoders) decode(pieces []string) []string {
	for _, step := range d {
		pieces = step.decode(pieces)
	}
	return pieces
}

// spacedDecoder is what a file without a decoder gets: pieces, a space between.
type spacedDecoder struct{}

func (spacedDecoder) decode(pieces []string) []string { return []string{strings.Join(pieces, " ")} }

type replaceDecoder struct{ old, new string }

func (d replaceDecoder) decode(pieces []string) []string {
	for i, p := range pieces {
		pieces[i] = replaceNormalizer(d).normalize(p)
	}
	return pieces
}

type fuseDecoder struct{}

func (fuseDecoder) decode(pieces []string) []string { return []string{strings.Join(pieces, "")} }

// byteFallbackDecoder joins runs of <0x..> pieces to text; a run that is not
// UTF-8 becomes one U+FFFD for each byte.
type byteFallbackDecoder struct{}

func (byteFallbackDecoder) decode(pieces []string) []string {
	var out []string
	var bytes []byte
	flush := func() {
		if len(bytes) == 0 {
			return
		}
		text := string(bytes)
		if validUTF8(text) != text {
			text = strings.Repeat("\uFFFD", len(bytes))
		}
		out = append(out, text)
		bytes = bytes[:0]
	}
	for _, p := range pieces {
		if b, ok := byteOfPiece(p); ok {
			bytes = append(bytes, b)
			continue
		}
		flush()
		out = append(out, p)
	}
	flush()
	return out
}

// byteOfPiece reads <0x0A>.
func byteOfPiece(piece string) (byte, bool) {
	if len(piece) != 6 || !strings.HasPrefix(piece, "<0x") || piece[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(piece[3:5], 16, 8)
	return byte(b), err == nil
}

// stripDecoder removes up to start leading and stop trailing copies of a
// character from every piece.
type stripDecoder struct {
	char        string
	start, stop int
}

func (d stripDecoder) decode(pieces []string) []string {
	for i, p := range pieces {
		for n := 0; n < d.start && strings.HasPrefix(p, d.char); n++ {
			p = p[len(d.char):]
		}
		for n := 0; n < d.stop && strings.HasSuffix(p, d.char); n++ {
			p = p[:len(p)-len(d.char)]
		}
		pieces[i] = p
	}
	return pieces
}

// byteLevelDecoder reads pieces written in byte characters.
type byteLevelDecoder struct{}

func (byteLevelDecoder) decode(pieces []string) []string {
	var bytes []byte
	for _, p := range pieces {
		bytes = appendPieceBytes(bytes, p)
	}
	return []string{lossyUTF8(bytes)}
}

// metaspaceDecoder turns marks into spaces; the first piece loses those that the
// pre-tokenizer may have put before it.
type metaspaceDecoder struct {
	mark      string
	dropFirst bool
}

func (d metaspaceDecoder) decode(pieces []string) []string {
	for i, p := range pieces {
		with := " "
		if i == 0 && d.dropFirst {
			with = ""
		}
		pieces[i] = strings.ReplaceAll(p, d.mark, with)
	}
	return pieces
}
