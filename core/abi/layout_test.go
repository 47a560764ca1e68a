package abi

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/internal/abilayout"
)

// mirrors pairs every struct of the header with its Go mirror. The table of functions is
// mirrored as addresses.
var mirrors = map[string]any{
	"quant_format": QuantFormat{}, "operand": Operand{}, "record": Record{}, "list": List{}, "attr_fill": AttrFill{},
	"attr_unary": AttrUnary{}, "attr_binary": AttrBinary{}, "attr_reduce": AttrReduce{}, "attr_matmul": AttrMatmul{},
	"attr_random": AttrRandom{}, "attr_bits": AttrBits{}, "attr_iota": AttrIota{}, "attr_quant": AttrQuant{},
	"attr_linear": AttrLinear{}, "projection": Projection{}, "attr_rmsnorm": AttrRmsnorm{}, "attr_rope": AttrRope{},
	"attr_attention": AttrAttention{}, "attr_linear_cross_entropy": AttrLinearCrossEntropy{}, "attr_dropout_mask": AttrDropoutMask{},
	"attr_adamw": AttrAdamw{}, "attr_guard": AttrGuard{}, "error": Error{}, "host_info": HostInfo{}, "device_info": DeviceInfo{},
	"device_options": DeviceOptions{}, "op_query": OpQuery{}, "op_answer": OpAnswer{}, "buffer_desc": BufferDesc{}, "buffer": Buffer{},
	"binding": Binding{}, "timeline_point": TimelinePoint{}, "list_report": ListReport{}, "submit": Submit{}, "plan_desc": PlanDesc{},
	"plan": Plan{}, "device_stats": DeviceStats{}, "backend_table": BackendTable{}, "reply": Reply{},
}

// constants are all numbers of the Go side under their names in the header.
var constants = map[string]uint64{
	"ABI_MAJOR": ABIMajor, "ABI_MINOR": ABIMinor, "LIST_MAGIC": ListMagic, "MAX_RANK": MaxRank,
	"SLOT_NONE": uint64(SlotNone), "SLOT_PARAMS": uint64(SlotParams),
	"KIND_TRANSIENT": uint64(KindTransient), "KIND_INPUT": uint64(KindInput), "KIND_OUTPUT": uint64(KindOutput),
	"KIND_CONSTANT": uint64(KindConstant), "KIND_STATE": uint64(KindState),
	"FORMAT_DENSE": uint64(FormatDense), "FORMAT_NF4": uint64(FormatNF4), "FORMAT_FP4": uint64(FormatFP4), "FORMAT_BIASED": uint64(FormatBiased),
	"FORMAT_AFFINE": uint64(FormatAffine), "FORMAT_INT8": uint64(FormatInt8), "FORMAT_FP8": uint64(FormatFP8),
	"WEIGHT_DATA": WeightData, "WEIGHT_SCALE": WeightScale, "WEIGHT_ZERO": WeightZero, "WEIGHT_SCALE_SCALE": WeightScaleScale,
	"WEIGHT_SCALE_ZERO": WeightScaleZero, "WEIGHT_ZERO_SCALE": WeightZeroScale, "WEIGHT_ZERO_ZERO": WeightZeroZero,
	"WEIGHT_CODE": WeightCode, "WEIGHT_OPERANDS": WeightOperands,
	"UNARY_NEG": uint64(UnaryNeg), "UNARY_EXP": uint64(UnaryExp), "UNARY_LOG": uint64(UnaryLog), "UNARY_SQRT": uint64(UnarySqrt),
	"UNARY_RSQRT": uint64(UnaryRsqrt), "UNARY_TANH": uint64(UnaryTanh), "UNARY_SIGMOID": uint64(UnarySigmoid), "UNARY_ABS": uint64(UnaryAbs),
	"UNARY_RECIPROCAL": uint64(UnaryReciprocal), "UNARY_SIN": uint64(UnarySin), "UNARY_COS": uint64(UnaryCos), "UNARY_FLOOR": uint64(UnaryFloor),
	"UNARY_ISFINITE": uint64(UnaryIsFinite), "UNARY_AFFINE": uint64(UnaryAffine), "UNARY_ROUND": uint64(UnaryRound),
	"BINARY_ADD": uint64(BinaryAdd), "BINARY_SUB": uint64(BinarySub), "BINARY_MUL": uint64(BinaryMul), "BINARY_DIV": uint64(BinaryDiv),
	"BINARY_MAX": uint64(BinaryMax), "BINARY_MIN": uint64(BinaryMin), "BINARY_LT": uint64(BinaryLt), "BINARY_LE": uint64(BinaryLe),
	"BINARY_EQ": uint64(BinaryEq), "BINARY_POW": uint64(BinaryPow), "REDUCE_SUM": uint64(ReduceSum), "REDUCE_MAX": uint64(ReduceMax),
	"DEVICE_CPU": DeviceCPU, "DEVICE_INTEGRATED": DeviceIntegrated, "DEVICE_DISCRETE": DeviceDiscrete,
	"NUMERICS_IEEE": NumericsIEEE, "NUMERICS_TF32": NumericsTF32, "NUMERICS_BF16X3": NumericsBF16X3,
	"FLAG_UNIFIED": FlagUnified, "FLAG_DETERMINISTIC": FlagDeterministic, "FLAG_FLUSH_DENORMALS": FlagFlushDenormals,
	"FLAG_HOST_SLOTS": FlagHostSlots, "FLAG_TIMES": FlagTimes, "LEVEL_NONE": LevelNone, "LEVEL_OK": LevelOk, "LEVEL_FAST": LevelFast,
	"MEMORY_DEVICE": MemoryDevice, "MEMORY_STAGING": MemoryStaging, "QUEUE_COMPUTE": QueueCompute, "QUEUE_TRANSFER": QueueTransfer,
}

func layout(t *testing.T) abilayout.Layout {
	t.Helper()
	l, err := abilayout.Read("trainer_backend.h")
	require.NoError(t, err)
	return l
}

func TestStructsMatchTheHeader(t *testing.T) {
	l := layout(t)
	require.Len(t, l.Structs, len(mirrors), "structs of the header and mirrors")
	for _, s := range l.Structs {
		mirror := reflect.TypeOf(mirrors[s.Name])
		require.NotNil(t, mirror, "no mirror of trainer_%s", s.Name)
		require.EqualValues(t, s.Size, mirror.Size(), "size of trainer_%s", s.Name)
		require.Equal(t, len(s.Fields), mirror.NumField(), "fields of trainer_%s", s.Name)
		for i, field := range s.Fields {
			got := mirror.Field(i)
			require.EqualValues(t, strings.ReplaceAll(field.Name, "_", ""), strings.ToLower(got.Name), "field %d of trainer_%s", i, s.Name)
			require.EqualValues(t, field.Offset, got.Offset, "offset of trainer_%s.%s", s.Name, field.Name)
		}
	}
}

func TestConstantsMatchTheHeader(t *testing.T) {
	want := map[string]uint64{}
	for name, v := range constants {
		want[name] = v
	}
	for i, name := range strings.Fields("OK UNSUPPORTED UNAVAILABLE INVALID OOM TIMEOUT DEVICE_LOST INTERNAL BUSY STALE") {
		want[name] = uint64(i)
		require.NotContains(t, Status(i).String(), "status", "name of "+name)
	}
	for d, name := range dtypeNames {
		want[strings.ToUpper(name)] = uint64(d)
	}
	for o, name := range opNames {
		want["OP_"+strings.ToUpper(name)] = uint64(o)
	}
	require.Equal(t, want, layout(t).Constants, "constants of Go and of the header")
}

// The header has the layout that is kept of its own minor, and nothing of an earlier minor of
// its major has moved: what was compiled against one still works.
func TestLayoutIsFrozen(t *testing.T) {
	now := layout(t)
	for minor := 1; minor <= ABIMinor; minor++ {
		dir := filepath.Join("frozen", fmt.Sprintf("%d.%d", ABIMajor, minor))
		text, err := os.ReadFile(filepath.Join(dir, "layout.json"))
		require.NoError(t, err, "run make abi-freeze")
		var kept abilayout.Layout
		require.NoError(t, json.Unmarshal(text, &kept))
		if minor == ABIMinor {
			require.Equal(t, kept, now, "a change of the layout needs a new minor")
		}
		require.Empty(t, kept.Breaks(now), "of %s", dir)
		own, err := abilayout.Read(filepath.Join(dir, "trainer", "trainer_backend.h"))
		require.NoError(t, err)
		require.Equal(t, kept, own)
	}
}

// What moves or goes is found.
func TestBreaksOfALayout(t *testing.T) {
	was := layout(t)
	change := func(edit func(l *abilayout.Layout)) []string {
		l := layout(t)
		edit(&l)
		return was.Breaks(l)
	}
	field := func(name string, size uint64) abilayout.Field {
		return abilayout.Field{Name: name, Offset: 4096, Size: size}
	}
	require.Empty(t, change(func(l *abilayout.Layout) {
		s := &l.Structs[len(l.Structs)-1]
		s.Fields, s.Size = append(s.Fields, field("more", 8)), s.Size+8
		l.Constants["NEW"], l.Constants["ABI_MINOR"] = 1, 99
	}))
	require.Len(t, change(func(l *abilayout.Layout) { l.Structs[0].Fields[1] = field("bits", 8) }), 1)
	require.Len(t, change(func(l *abilayout.Layout) { l.Structs = l.Structs[1:] }), 1)
	require.Len(t, change(func(l *abilayout.Layout) { l.Constants["OP_COPY"] = 99 }), 1)
	require.Len(t, change(func(l *abilayout.Layout) { delete(l.Constants, "OP_COPY") }), 1)
}

func TestListsDecodeAsTheyWereBuilt(t *testing.T) {
	var b ListBuilder
	o := Operand{Slot: 3, DType: uint32(BF16), Rank: 2, Bytes: 12}
	b.Record(OpCopy, 0, 0, nil, []Operand{o}, []Operand{o}, nil)
	b.Record(OpFill, 0, 1, []uint32{0}, []Operand{o}, nil, AttrBytes(AttrFill{ValueBits: 7}))
	list := b.Finish(9, 4, 16)
	h, records, err := DecodeList(list)
	require.NoError(t, err)
	require.EqualValues(t, 9, h.Serial)
	serial, count := ListIdentity(list)
	require.Equal(t, []any{uint64(9), uint32(2)}, []any{serial, count})
	require.Len(t, records, 2)
	require.Equal(t, []uint32{0}, records[1].After)
	require.Equal(t, AttrBytes(AttrFill{ValueBits: 7}), records[1].Attr)
	require.Equal(t, o, records[0].Inputs[0])
	for cut := range list {
		_, _, err := DecodeList(list[:cut])
		require.Error(t, err, "a list cut to %d bytes", cut)
	}
}

func FuzzDecodeList(f *testing.F) {
	var b ListBuilder
	o := Operand{Slot: 3, DType: uint32(BF16), Rank: 2, Bytes: 12}
	b.Record(OpCopy, 0, 0, nil, []Operand{o}, []Operand{o}, nil)
	b.Record(OpFill, 0, 1, []uint32{0}, []Operand{o}, nil, AttrBytes(AttrFill{ValueBits: 7}))
	f.Add(b.Finish(9, 4, 16))
	f.Add((&ListBuilder{}).Finish(1, 0, 0))
	f.Fuzz(func(t *testing.T, list []byte) {
		h, records, err := DecodeList(list)
		if err == nil && len(records) != int(h.RecordCount) {
			t.Fatalf("%d records, the header says %d", len(records), h.RecordCount)
		}
	})
}
