package quantised

import (
	"fmt"
	"slices"
	"strconv"

	"trainer/files/jsonstrict"
)

// quantState is the JSON that bitsandbytes stores beside a 4-bit weight.
type quantState struct {
	kind          Kind
	block, nested int64
	shape         []int64
	offset        float64
}

// maxState is far above any state's bytes.
const maxState = 1 << 16

func (r *Reader) quantState(weight string) (s quantState, err error) {
	for kind, name := range map[Kind]string{NF4: "nf4", FP4: "fp4"} {
		name = weight + ".quant_state.bitsandbytes__" + name
		info, ok := r.from.Tensor(name)
		if !ok {
			continue
		}
		if info.Bytes > maxState {
			return s, refuse(name, fmt.Sprintf("%d bytes", info.Bytes), "a short JSON object")
		}
		text := make([]byte, info.Bytes)
		if err := r.from.Read(info, text, 0); err != nil {
			return s, err
		}
		if s, err = parseState(text); err != nil {
			return s, refuse(name, err.Error(), "the JSON object that bitsandbytes writes")
		}
		s.kind = kind
		if s.block < 2 || s.block%2 != 0 || len(s.shape) != 2 || s.nested < 0 {
			return s, refuse(name, fmt.Sprintf("blocks of %d, scales by %d, shape %v", s.block, s.nested, s.shape), "an even block size and a matrix")
		}
	}
	return s, nil
}

func parseState(text []byte) (s quantState, err error) {
	d, err := jsonstrict.NewDecoder(text, jsonstrict.Limits{})
	if err != nil {
		return s, err
	}
	err = d.Object(func(key string) (err error) {
		switch key {
		case "blocksize":
			s.block, err = d.Int()
		case "nested_blocksize":
			s.nested, err = d.Int()
		case "nested_offset":
			var number string
			if number, err = d.Number(); err == nil {
				s.offset, err = strconv.ParseFloat(number, 32)
			}
		case "shape":
			return d.Array(func() error {
				n, err := d.Int()
				s.shape = append(s.shape, n)
				return err
			})
		default:
			err = d.Skip()
		}
		return err
	})
	if err != nil {
		return s, err
	}
	return s, d.End()
}

// describeTabled describes a weight of QLoRA's kind (Dettmers et al. 2023).
func (r *Reader) describeTabled(module string) (*Weight, error) {
	name := module + ".weight"
	s, err := r.quantState(name)
	if err != nil {
		return nil, err
	}
	w := &Weight{Format: Format{Kind: s.kind, Bits: 4, Group: s.block, NestedGroup: s.nested}, Out: s.shape[0], In: s.shape[1]}
	_, err = shape(name, w.Out, w.In)
	return w, err
}

// fillTabled reads codes, which lie as the border has them, and scales.
func (r *Reader) fillTabled(module string, w *Weight) (err error) {
	name, n, f := module+".weight", w.Out*w.In, w.Format
	if err := r.sameNumbers(name+".quant_map", f.Kind); err != nil {
		return err
	}
	blocks := (n + f.Group - 1) / f.Group
	if w.Operands[Data], err = r.bytes(name, (n+1)/2); err != nil {
		return err
	}
	if f.NestedGroup == 0 {
		w.Operands[Scale], err = r.float32s(name+".absmax", blocks)
		return err
	}
	s, err := r.quantState(name)
	if err != nil {
		return err
	}
	if w.Operands[Scale], err = r.bytes(name+".absmax", blocks); err != nil {
		return err
	}
	if w.Operands[ScaleScale], err = r.float32s(name+".nested_absmax", (blocks+f.NestedGroup-1)/f.NestedGroup); err != nil {
		return err
	}
	w.Operands[ScaleZero] = encode([]float32{float32(s.offset)})
	w.Operands[Map], err = r.float32s(name+".nested_quant_map", 256)
	return err
}

// What each code stands for, as bitsandbytes writes it: NF4's ends and FP4's magnitudes tell
// them from other maps.
var (
	nf4Numbers = []float32{-1, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.091050036, 0,
		0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1}
	fp4Numbers = []float32{0, 0.0052083335, 0.6666667, 1, 0.33333334, 0.5, 0.16666667, 0.25,
		0, -0.0052083335, -0.6666667, -1, -0.33333334, -0.5, -0.16666667, -0.25}
)

// sameNumbers refuses a map of other numbers than those of the format.
func (r *Reader) sameNumbers(name string, kind Kind) error {
	got, err := r.floats(name, 16)
	if err != nil {
		return err
	}
	want := nf4Numbers
	if kind == FP4 {
		want = fp4Numbers
	}
	if !slices.Equal(got, want) {
		return refuse(name, fmt.Sprint(got), fmt.Sprintf("the numbers of %s, %v", kind, want))
	}
	return nil
}

// describeInt8 describes rows of int8.
func (r *Reader) describeInt8(module string) (*Weight, error) {
	name := module + ".weight"
	info, err := r.info(name)
	if err != nil {
		return nil, err
	}
	if info.DType != "I8" || len(info.Shape) != 2 {
		return nil, refuse(name, fmt.Sprintf("%s %v", info.DType, info.Shape), "a matrix of I8")
	}
	w := &Weight{Format: Format{Kind: Int8, Bits: 8, Group: info.Shape[1]}, Out: info.Shape[0], In: info.Shape[1]}
	_, err = shape(name, w.Out, w.In)
	return w, err
}

// fillInt8 reads codes and the rows' largest magnitudes, which stand in SCB.
func (r *Reader) fillInt8(module string, w *Weight) (err error) {
	if w.Operands[Data], err = r.bytes(module+".weight", w.Out*w.In); err != nil {
		return err
	}
	most, err := r.floats(module+".SCB", w.Out)
	for i := range most {
		most[i] /= 127
	}
	w.Operands[Scale] = encode(most)
	return err
}
