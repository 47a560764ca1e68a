package quantised

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"trainer/fault"
	"trainer/files/safetensors"
)

// Kind is a family of formats.
type Kind int

// The kinds that are read.
const (
	NF4  Kind = iota + 1 // bitsandbytes' NormalFloat
	FP4                  // bitsandbytes' 4-bit float
	HQQ                  // (code - zero) * scale
	MLX                  // code * scale + zero
	Int8                 // rows of int8: code * scale
)

// String names the kind for people.
func (k Kind) String() string {
	return [...]string{NF4: "NF4", FP4: "FP4", HQQ: "HQQ", MLX: "MLX", Int8: "int8"}[k]
}

// Format is how a weight is stored, as the border describes it.
type Format struct {
	Kind        Kind
	Bits        int
	Group       int64 // elements per scale; of Int8 a row
	Interleaved bool  // HQQ's axis 0
	NestedGroup int64 // scales per second-level scale; 0 = one level
}

// The operands of a weight, in the border's order.
const (
	Data       = iota // codes
	Scale             // f32, or codes where nested
	Zero              // f32, of HQQ and MLX
	ScaleScale        // f32, nested
	ScaleZero         // f32 [1], nested
	_
	_
	Map // f32 [256], nested
	operands
)

// Weight is a quantised weight [Out, In]. Operands that its format does not have are nil.
type Weight struct {
	Format   Format
	Out, In  int64
	Operands [operands][]byte
}

// Tensors is where tensors are read from: a safetensors file or folder.
type Tensors interface {
	Tensor(name string) (safetensors.Info, bool)
	Read(info safetensors.Info, dst []byte, off int64) error
	ReadFloat32(info safetensors.Info) ([]float32, error)
	ReadInts(info safetensors.Info) ([]int64, error)
}

// Reader reads the quantised weights of a model.
type Reader struct {
	from Tensors
	mlx  mlxConfig
}

// NewReader reads weights of a model whose config.json is given.
func NewReader(from Tensors, config []byte) (*Reader, error) {
	mlx, err := parseMLX(config)
	return &Reader{from, mlx}, err
}

// layout is one program's way to store a weight.
type layout struct {
	mark     string // names a tensor only this layout has; it follows the module's name
	describe func(r *Reader, module string) (*Weight, error)
	fill     func(r *Reader, module string, w *Weight) error // reads the operands
}

var layouts = []layout{
	{".weight.quant_state.bitsandbytes__nf4", (*Reader).describeTabled, (*Reader).fillTabled},
	{".weight.quant_state.bitsandbytes__fp4", (*Reader).describeTabled, (*Reader).fillTabled},
	{".SCB", (*Reader).describeInt8, (*Reader).fillInt8},
	{".W_q", (*Reader).describeHQQ, (*Reader).fillHQQ},
	{".scales", (*Reader).describeMLX, (*Reader).fillMLX},
}

// Has reports whether a parameter, named as in a model that is not quantised
// ("….weight"), is stored quantised.
func (r *Reader) Has(parameter string) bool { return r.layout(parameter) != nil }

func (r *Reader) layout(parameter string) *layout {
	module, ok := strings.CutSuffix(parameter, ".weight")
	for i := range layouts {
		if _, found := r.from.Tensor(module + layouts[i].mark); found && ok {
			return &layouts[i]
		}
	}
	return nil
}

// Codes names the tensor with the codes of a parameter that Has reports.
func (r *Reader) Codes(parameter string) string {
	if module, mark := strings.TrimSuffix(parameter, ".weight"), ".W_q"; r.layout(parameter).mark == mark {
		return module + mark
	}
	return parameter
}

// Describe is Weight without operands, whose tensors it does not read.
func (r *Reader) Describe(parameter string) (*Weight, error) {
	l := r.layout(parameter)
	if l == nil {
		return nil, fmt.Errorf("%s is not stored quantised", parameter)
	}
	w, err := l.describe(r, strings.TrimSuffix(parameter, ".weight"))
	if err == nil && max(w.Format.Group, w.Format.NestedGroup) >= most {
		err = refuse(parameter, fmt.Sprintf("groups of %d and %d", w.Format.Group, w.Format.NestedGroup), "fewer than 2^31")
	}
	return w, err
}

// Weight reads a parameter that Has reports. Errors are *fault.Error of kind Files.
func (r *Reader) Weight(parameter string) (*Weight, error) {
	w, err := r.Describe(parameter)
	if err != nil {
		return nil, err
	}
	return w, r.layout(parameter).fill(r, strings.TrimSuffix(parameter, ".weight"), w)
}

func refuse(tensor, found, want string) error {
	return &fault.Error{Kind: fault.Files, Field: fmt.Sprintf("tensor %q", tensor), Found: found, Want: want, Remedy: "quantise the model again, or use one that is not quantised"}
}

// info finds a tensor that must be there.
func (r *Reader) info(name string) (safetensors.Info, error) {
	info, ok := r.from.Tensor(name)
	if !ok {
		return info, refuse(name, "no such tensor", "the rest of a quantised weight")
	}
	return info, nil
}

// bytes is a tensor as it is stored; it must have so many bytes.
func (r *Reader) bytes(name string, size int64) ([]byte, error) {
	info, err := r.info(name)
	if err != nil {
		return nil, err
	}
	if info.Bytes != size {
		return nil, refuse(name, fmt.Sprintf("%d bytes", info.Bytes), fmt.Sprint(size))
	}
	data := make([]byte, size)
	return data, r.from.Read(info, data, 0)
}

// floats is a tensor of n floats.
func (r *Reader) floats(name string, n int64) ([]float32, error) {
	info, err := r.info(name)
	if err != nil {
		return nil, err
	}
	x, err := r.from.ReadFloat32(info)
	if err == nil && int64(len(x)) != n {
		err = refuse(name, fmt.Sprintf("%d numbers", len(x)), fmt.Sprint(n))
	}
	return x, err
}

// float32s is floats as an operand.
func (r *Reader) float32s(name string, n int64) ([]byte, error) {
	x, err := r.floats(name, n)
	return encode(x), err
}

func encode(x []float32) []byte {
	data := make([]byte, 0, 4*len(x))
	for _, v := range x {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return data
}

// integer is a tensor of one integer.
func (r *Reader) integer(name string) (int64, error) {
	x, err := r.integers(name, 1)
	if err != nil {
		return 0, err
	}
	return x[0], nil
}

func (r *Reader) integers(name string, n int) ([]int64, error) {
	info, err := r.info(name)
	if err != nil {
		return nil, err
	}
	x, err := r.from.ReadInts(info)
	if err == nil && len(x) != n {
		err = refuse(name, fmt.Sprintf("%d numbers", len(x)), fmt.Sprint(n))
	}
	return x, err
}

// most is above every extent and group.
const most = 1 << 31

// shape refuses extents that no weight has, and returns their product.
func shape(tensor string, out, in int64) (n int64, err error) {
	if out < 1 || in < 1 || out >= most || in >= most {
		return 0, refuse(tensor, fmt.Sprintf("a weight [%d %d]", out, in), "extents from 1 to 2^31")
	}
	return out * in, nil
}
