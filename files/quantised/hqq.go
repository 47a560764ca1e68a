package quantised

import (
	"encoding/binary"
	"fmt"
)

// packing is one of HQQ's ways to pack codes: the rows of the grouped weight are cut into
// as many parts as codes fit a word, and part i stands in the i-th bits from the top of the
// highest code.
type packing struct {
	bits, word int // bits of a code, bytes of a word
}

var packings = map[string]packing{"8bit_u8": {8, 1}, "4bit_u8": {4, 1}, "3bit_32": {3, 4}, "2bit_u8": {2, 1}, "1bit_u8": {1, 1}}

// perWord is how many codes a word holds.
func (p packing) perWord() int64 { return int64(8 * p.word / p.bits) }

// text is a tensor of character codes, as HQQ stores a string.
func (r *Reader) text(name string) (string, error) {
	info, err := r.info(name)
	if err != nil {
		return "", err
	}
	if info.DType != "U8" || info.Bytes > maxState {
		return "", refuse(name, fmt.Sprintf("%s %v", info.DType, info.Shape), "a short text")
	}
	data := make([]byte, info.Bytes)
	err = r.from.Read(info, data, 0)
	return string(data), err
}

// fillHQQ reads a weight of HQQ's safetensors (Badri & Shaji 2023).
func (r *Reader) fillHQQ(module string, w *Weight) error {
	p, err := r.packing(module)
	if err != nil {
		return err
	}
	n := w.Out * w.In
	if w.Operands[Data], err = r.hqqCodes(module+".W_q", p, w.Format, n); err != nil {
		return err
	}
	for slot, part := range map[int]string{Scale: ".scale", Zero: ".zero"} {
		if w.Operands[slot], err = r.float32s(module+part, n/w.Format.Group); err != nil {
			return err
		}
	}
	return nil
}

// packing is how the codes of a module are packed.
func (r *Reader) packing(module string) (packing, error) {
	name, err := r.text(module + ".packing")
	if err != nil {
		return packing{}, err
	}
	p, ok := packings[name]
	if !ok {
		return p, refuse(module+".packing", fmt.Sprintf("%q", name), "8bit_u8, 4bit_u8, 3bit_32, 2bit_u8 or 1bit_u8")
	}
	return p, nil
}

// describeHQQ describes a weight. HQQ writes scales and zeros that are quantised themselves into
// pickles only, so a file that says it has them is refused.
func (r *Reader) describeHQQ(module string) (*Weight, error) {
	for _, flag := range []string{".quant_scale", ".quant_zero"} {
		if _, ok := r.from.Tensor(module + flag); !ok {
			continue
		}
		if set, err := r.integer(module + flag); err != nil || set != 0 {
			return nil, refuse(module+flag, "quantised scales or zeros", "plain ones")
		}
	}
	p, err := r.packing(module)
	if err != nil {
		return nil, err
	}
	extents, err := r.integers(module+".shape", 2)
	if err != nil {
		return nil, err
	}
	group, err := r.integer(module + ".group_size")
	if err != nil {
		return nil, err
	}
	axis, err := r.integer(module + ".axis")
	if err != nil {
		return nil, err
	}
	if axis < 0 || axis > 1 {
		return nil, refuse(module+".axis", fmt.Sprint(axis), "0 or 1")
	}
	w := &Weight{Format: Format{Kind: HQQ, Bits: p.bits, Group: group, Interleaved: axis == 0}, Out: extents[0], In: extents[1]}
	n, err := shape(module+".shape", w.Out, w.In)
	if err == nil && (group < 8 || group%8 != 0 || n%group != 0) {
		err = refuse(module+".group_size", fmt.Sprintf("groups of %d", group), fmt.Sprintf("a multiple of 8 that divides %d", n))
	}
	return w, err
}

// hqqCodes lays the codes of n elements out as a stream of bits.
func (r *Reader) hqqCodes(name string, p packing, f Format, n int64) ([]byte, error) {
	cols := f.Group
	if f.Interleaved {
		cols = n / f.Group
	}
	rows := n / cols
	part := (rows + p.perWord() - 1) / p.perWord() // rows of words; the last part may be short
	if p.bits != 3 && rows%p.perWord() != 0 {
		return nil, refuse(name, fmt.Sprintf("%d rows of codes", rows), fmt.Sprintf("a multiple of %d", p.perWord()))
	}
	words, err := r.bytes(name, part*cols*int64(p.word))
	if err != nil {
		return nil, err
	}
	s := stream{data: make([]byte, n*int64(p.bits)/8), bits: p.bits}
	for e := range n {
		row, col := e/cols, e%cols
		shift := p.bits * int(p.perWord()-1-row/part)
		s.put(e, word(words, (row%part)*cols+col, p.word)>>shift)
	}
	return s.data, nil
}

func word(words []byte, at int64, size int) uint32 {
	if size == 1 {
		return uint32(words[at])
	}
	return binary.LittleEndian.Uint32(words[4*at:])
}

// stream is codes of some bits each, the first in the lowest bits.
type stream struct {
	data []byte
	bits int
}

// put writes the low bits of a code; the place was 0.
func (s stream) put(e int64, code uint32) {
	bit := e * int64(s.bits)
	wide := (code & (1<<s.bits - 1)) << (bit % 8)
	s.data[bit/8] |= byte(wide)
	if wide > 255 {
		s.data[bit/8+1] |= byte(wide >> 8)
	}
}
