package training

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"trainer/core/abi"
	"trainer/core/model"
	"trainer/files/safetensors"
)

// randomStart is what a base weight holds in benchmarks: numbers uniform in [-bound, bound)
// of the deviation that models are initialised with, or where bound is 0 a constant.
func randomStart(p model.Part) (bound, fill float64) {
	const deviation = 0.02
	switch p {
	case model.Bias:
		return 0, 0
	case model.Norm:
		return 0, 1
	}
	return deviation * math.Sqrt(3), 0
}

// randomPart is how many bytes of a random tensor are made at a time.
const randomPart = 64 << 20

// WriteRandom streams a model's weights as benchmarks have them, in bf16 and made from a
// seed, into a folder that exists, as shards with their index. It returns their bytes.
func WriteRandom(dir string, m model.Model, seed uint64) (bytes int64, err error) {
	var specs []safetensors.Spec
	for _, s := range m.Specs() {
		specs = append(specs, safetensors.Spec{Name: s.Name, DType: storedNames[abi.BF16], Shape: s.Shape})
	}
	w, err := safetensors.WriteSharded(dir, specs, shardBytes)
	if err != nil {
		return 0, err
	}
	defer w.Abort()
	part := make([]byte, randomPart)
	for _, s := range m.Specs() {
		table := bf16Table(randomStart(s.Part))
		size := 2 * s.Count()
		for at := int64(0); at < size; at += randomPart {
			piece := part[:min(randomPart, size-at)]
			fillRandom(piece, table, seed, s.Name, at)
			if err := w.Write(s.Name, piece); err != nil {
				return 0, err
			}
		}
		bytes += size
	}
	return bytes, w.Commit()
}

// bf16Table maps 16 random bits to a bf16: evenly over [-bound, bound), or all to fill.
func bf16Table(bound, fill float64) *[1 << 16]uint16 {
	table := new([1 << 16]uint16)
	for i := range table {
		x := fill + bound*(2*(float64(i)+0.5)/(1<<16)-1)
		table[i] = binary.LittleEndian.Uint16(encode(nil, []float32{float32(x)}, abi.BF16))
	}
	return table
}

// fillRandom fills a piece of a tensor that begins at a byte. Equal seeds give equal tensors.
func fillRandom(piece []byte, table *[1 << 16]uint16, seed uint64, name string, at int64) {
	h := fnv.New64a()
	h.Write([]byte(name))
	site := seed ^ h.Sum64()
	_ = inParallel(len(piece), func(begin, end int) error { // which fails never
		source := rand.NewPCG(site, uint64(at)+uint64(begin))
		for ; begin+8 <= end; begin += 8 {
			bits := source.Uint64()
			four := uint64(table[uint16(bits)]) | uint64(table[uint16(bits>>16)])<<16 | uint64(table[uint16(bits>>32)])<<32 | uint64(table[uint16(bits>>48)])<<48
			binary.LittleEndian.PutUint64(piece[begin:], four)
		}
		for ; begin < end; begin += 2 {
			binary.LittleEndian.PutUint16(piece[begin:], table[uint16(source.Uint64())])
		}
		return nil
	})
}
