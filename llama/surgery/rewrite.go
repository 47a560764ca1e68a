package surgery

import (
	"context"
	"fmt"

	"trainer/fault"
	"trainer/files/safetensors"
)

// shardBytes is the most a file of a model holds, as Transformers splits them.
const shardBytes = 5_000_000_000

// part is a tensor of a new model: where its values come from, and how they are stored.
type part struct {
	spec   safetensors.Spec
	from   string // tensor of the source
	copied bool   // byte for byte from the base
	zero   bool
}

// writeModel streams parts into a folder, durably. A cancelled context ends it and leaves
// nothing.
func writeModel(ctx context.Context, dir string, base *Base, src Source, parts []part) error {
	var specs []safetensors.Spec
	for _, p := range parts {
		specs = append(specs, p.spec)
	}
	w, err := safetensors.WriteSharded(dir, specs, shardBytes)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, p := range parts {
		put := func(chunk []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return w.Write(p.spec.Name, chunk)
		}
		if err := writePart(base, src, p, put); err != nil {
			return err
		}
	}
	return w.Commit()
}

// writePart hands the bytes of one part to put.
func writePart(base *Base, src Source, p part, put func([]byte) error) error {
	switch {
	case p.zero:
		return putZeros(p.spec, put)
	case p.copied:
		return base.putRaw(p.from, put)
	}
	var raw []byte
	return eachChunk(src, p.from, p.spec.Shape, func(first int64, values []float32) error {
		if err := checkFits(p.spec, values); err != nil {
			return err
		}
		raw = safetensors.AppendFloats(raw[:0], values, p.spec.DType)
		return put(raw)
	})
}

// maxHalf is the first number that F16 cannot hold.
const maxHalf = 65520

// checkFits refuses what is no finite number, or none in the dtype it is stored in.
func checkFits(spec safetensors.Spec, values []float32) error {
	for _, x := range values {
		switch {
		case x-x != 0:
			return &fault.Error{Kind: fault.Files, Where: "adapter", Field: fmt.Sprintf("tensor %q", spec.Name), Found: fmt.Sprintf("%v once it is merged", x),
				Want: "a finite number", Remedy: "name the model the adapter was trained on"}
		case spec.DType == "F16" && (x >= maxHalf || x <= -maxHalf):
			return &fault.Error{Kind: fault.Usage, Where: "--dtype", Found: fmt.Sprintf("float16, and %g in tensor %q", x, spec.Name),
				Want: "a dtype that holds it", Remedy: "choose bfloat16 or float32"}
		}
	}
	return nil
}

// copyBytes is how many bytes are copied at a time.
const copyBytes = 4 << 20

// putRaw hands over a stored tensor as it is.
func (b *Base) putRaw(tensor string, put func([]byte) error) error {
	info, _ := b.folder.Tensor(tensor)
	buffer := make([]byte, min(info.Bytes, copyBytes))
	for at := int64(0); at < info.Bytes; at += copyBytes {
		chunk := buffer[:min(copyBytes, info.Bytes-at)]
		if err := b.folder.Read(info, chunk, at); err != nil {
			return err
		}
		if err := put(chunk); err != nil {
			return err
		}
	}
	return nil
}

func putZeros(spec safetensors.Spec, put func([]byte) error) error {
	left, _ := safetensors.DTypeSize(spec.DType)
	for _, d := range spec.Shape {
		left *= d
	}
	zeros := make([]byte, min(left, copyBytes))
	for ; left > 0; left -= int64(len(zeros)) {
		zeros = zeros[:min(left, int64(len(zeros)))]
		if err := put(zeros); err != nil {
			return err
		}
	}
	return nil
}
