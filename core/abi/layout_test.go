package abi

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
	"FLAG_HOST_SLOTS": FlagHostSlots, "LEVEL_NONE": LevelNone, "LEVEL_OK": LevelOk, "LEVEL_FAST": LevelFast,
	"MEMORY_DEVICE": MemoryDevice, "MEMORY_STAGING": MemoryStaging, "QUEUE_COMPUTE": QueueCompute, "QUEUE_TRANSFER": QueueTransfer,
}

func header(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("trainer_backend.h")
	require.NoError(t, err)
	return regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(string(text), "")
}

// probe compiles and runs a C program that prints NAME VALUE lines.
func probe(t *testing.T, lines []string) map[string]uint64 {
	t.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	here, err := os.Getwd()
	require.NoError(t, err)
	source := "#include \"" + filepath.Join(here, "trainer_backend.h") + "\"\n#include <stddef.h>\n#include <stdio.h>\n#define P(n, v) printf(\"%s %llu\\n\", n, (unsigned long long)(v))\nint main(void) {\n" +
		strings.Join(lines, "\n") + "\nreturn 0;\n}\n"
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "probe.c"), []byte(source), 0o600))
	out, err := exec.Command(cc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(dir, "probe"), filepath.Join(dir, "probe.c")).CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.Command(filepath.Join(dir, "probe")).Output()
	require.NoError(t, err)
	values := map[string]uint64{}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		name, value, _ := strings.Cut(line, " ")
		values[name], err = strconv.ParseUint(value, 10, 64)
		require.NoError(t, err)
	}
	return values
}

func TestStructsMatchTheHeader(t *testing.T) {
	fieldName := regexp.MustCompile(`(\w+)(?:\[\d+\])?$|\(\*(\w+)\)`)
	var lines, names []string
	fields := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?s)typedef struct trainer_(\w+) \{(.*?)\n\} trainer_`).FindAllStringSubmatch(header(t), -1) {
		names = append(names, m[1])
		lines = append(lines, fmt.Sprintf(`P("%s", sizeof(trainer_%s));`, m[1], m[1]))
		for _, f := range strings.Split(m[2], ";") {
			if f = strings.TrimSpace(f); f == "" {
				continue
			}
			part := fieldName.FindStringSubmatch(regexp.MustCompile(`\)\s*\(.*$`).ReplaceAllString(f, ")"))
			field := part[1] + part[2]
			fields[m[1]] = append(fields[m[1]], field)
			lines = append(lines, fmt.Sprintf(`P("%s.%s", offsetof(trainer_%s, %s));`, m[1], field, m[1], field))
		}
	}
	c := probe(t, lines)
	require.Len(t, names, len(mirrors), "structs of the header and mirrors")
	for _, name := range names {
		mirror := reflect.TypeOf(mirrors[name])
		require.NotNil(t, mirror, "no mirror of trainer_%s", name)
		require.EqualValues(t, c[name], mirror.Size(), "size of trainer_%s", name)
		require.Equal(t, len(fields[name]), mirror.NumField(), "fields of trainer_%s", name)
		for i, field := range fields[name] {
			got := mirror.Field(i)
			require.EqualValues(t, strings.ReplaceAll(field, "_", ""), strings.ToLower(got.Name), "field %d of trainer_%s", i, name)
			require.EqualValues(t, c[name+"."+field], got.Offset, "offset of trainer_%s.%s", name, field)
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
	var lines, names []string
	for _, m := range regexp.MustCompile(`#define TRAINER_(\w+) `).FindAllStringSubmatch(header(t), -1) {
		if m[1] == "EXPORT" {
			continue
		}
		names = append(names, m[1])
		lines = append(lines, fmt.Sprintf(`P("%s", TRAINER_%s);`, m[1], m[1]))
	}
	c := probe(t, lines)
	require.Len(t, names, len(want), "constants of the header and of Go")
	for _, name := range names {
		got, ok := want[name]
		require.True(t, ok, "Go has no TRAINER_%s", name)
		require.Equal(t, c[name], got, "TRAINER_%s", name)
	}
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
