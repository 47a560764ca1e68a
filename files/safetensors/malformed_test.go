package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// image is the bytes of a file with the header and data given.
func image(header string, data int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), make([]byte, data)...)
}

// entry is a tensor's member of a header.
func entry(name, dtype, shape string, begin, end uint64) string {
	return fmt.Sprintf(`"%s":{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, name, dtype, shape, begin, end)
}

func openBytes(t testing.TB, content []byte) (*File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "some.safetensors")
	require.NoError(t, os.WriteFile(path, content, 0o666))
	return Open(path)
}

// refused requires a sentence of kind Files that names the file and says message.
func refused(t *testing.T, err error, message string) {
	t.Helper()
	require.ErrorContains(t, err, message)
	require.Contains(t, err.Error(), ".safetensors: ")
	require.Equal(t, int(fault.Files), fault.ExitCode(err))
}

func TestMalformedHeaders(t *testing.T) {
	good := entry("a", "F32", "[2]", 0, 8)
	many := strings.TrimSuffix(strings.Repeat("1,", 100_000), ",")
	for _, c := range []struct {
		name, header string
		data         int
		message      string
	}{
		{"no object", `[]`, 0, "header: line 1, column 1: found '[', expected an object"},
		{"text before", `x{}`, 0, "found 'x', expected an object"},
		{"text after", `{}x`, 0, "found 'x', expected the end"},
		{"two objects", `{}{}`, 0, "expected the end"},
		{"nul padding", "{}\x00\x00", 0, "expected the end"},
		{"empty", ``, 0, "the text ends, expected an object"},
		{"bad utf-8", "{\"a\xff\":{}}", 0, "byte 0xff is not UTF-8"},
		{"lone surrogate", `{"\ud800":{}}`, 0, "surrogate"},
		{"tensor is a list", `{"a":[]}`, 0, `tensor "a": line 1, column 6: found '[', expected an object`},
		{"tensor is null", `{"a":null}`, 0, `tensor "a"`},
		{"duplicate tensor", "{" + good + "," + good + "}", 8, `duplicate key "a"`},
		{"duplicate escaped", "{" + good + "," + strings.Replace(good, "a", `\u0061`, 1) + "}", 8, `duplicate key "a"`},
		{"duplicate member", `{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 4, `tensor "a": line 1, column 21: duplicate key "dtype"`},
		{"other case", `{"a":{"DTYPE":"F32","shape":[],"data_offsets":[0,4]}}`, 4, `tensor "a": found an entry that lacks`},
		{"no dtype", `{"a":{"shape":[],"data_offsets":[0,4]}}`, 4, `lacks one of them, expected dtype, shape`},
		{"no shape", `{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4, `lacks one of them`},
		{"no offsets", `{"a":{"dtype":"F32","shape":[]}}`, 4, `lacks one of them`},
		{"one offset", `{"a":{"dtype":"F32","shape":[],"data_offsets":[0]}}`, 4, `lacks one of them`},
		{"three offsets", `{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,8]}}`, 4, `more than 2 numbers in data_offsets`},
		{"unknown dtype", "{" + entry("a", "F33", "[2]", 0, 8) + "}", 8, `tensor "a": found dtype "F33"`},
		{"lower-case dtype", "{" + entry("a", "f32", "[2]", 0, 8) + "}", 8, `found dtype "f32"`},
		{"dtype number", `{"a":{"dtype":7,"shape":[],"data_offsets":[0,4]}}`, 4, `expected a string`},
		{"shape string", "{" + entry("a", "F32", `"2"`, 0, 8) + "}", 8, `expected a list`},
		{"shape null", "{" + entry("a", "F32", `null`, 0, 8) + "}", 8, `expected a list`},
		{"shape nested", "{" + entry("a", "F32", `[[2]]`, 0, 8) + "}", 8, `expected a number`},
		{"dimension fraction", "{" + entry("a", "F32", `[2.0]`, 0, 8) + "}", 8, `found 2.0, expected an integer`},
		{"dimension exponent", "{" + entry("a", "F32", `[2e0]`, 0, 8) + "}", 8, `found 2e0`},
		{"dimension negative", "{" + entry("a", "F32", `[-2]`, 0, 8) + "}", 8, `found -2 in shape, expected an integer from 0`},
		{"dimension minus zero", "{" + entry("a", "F32", `[-0]`, 0, 0) + "}", 0, `found -0`},
		{"dimension 2^48", "{" + entry("a", "U8", `[281474976710656,0]`, 0, 0) + "}", 0, `found 281474976710656 in shape`},
		{"dimension 2^64", "{" + entry("a", "U8", `[18446744073709551616]`, 0, 0) + "}", 0, `expected an integer below 2^63`},
		{"zero before 2^64-1", "{" + entry("a", "U8", `[0,18446744073709551615]`, 0, 0) + "}", 0, `expected an integer below 2^63`},
		{"2^64-1 before zero", "{" + entry("a", "U8", `[18446744073709551615,2,0]`, 0, 0) + "}", 0, `expected an integer below 2^63`},
		{"product overflows", "{" + entry("a", "F32", `[281474976710655,281474976710655]`, 0, 8) + "}", 8, `expected fewer than 2^63 bytes`},
		{"product overflows to fit", "{" + entry("a", "U8", `[4294967296,4294967296]`, 0, 0) + "}", 0, `fewer than 2^63 bytes`},
		{"bytes overflow to fit", "{" + entry("a", "F64", `[2305843009213693952]`, 0, 0) + "}", 0, `in shape, expected`},
		{"rank 9", "{" + entry("a", "U8", `[1,1,1,1,1,1,1,1,1]`, 0, 1) + "}", 1, `more than 8 numbers in shape`},
		{"rank 100,000", "{" + entry("a", "U8", "["+many+"]", 0, 1) + "}", 1, `more than 8 numbers in shape`},
		{"size too small", "{" + entry("a", "F32", "[3]", 0, 8) + "}", 8, `found data_offsets [0 8], expected 12 bytes for F32 [3]`},
		{"size too large", "{" + entry("a", "F16", "[3]", 0, 8) + "}", 8, `expected 6 bytes`},
		{"offsets reversed", "{" + entry("a", "F32", "[2]", 8, 0) + "}", 8, `found data_offsets [8 0]`},
		{"offsets negative", `{"a":{"dtype":"F32","shape":[],"data_offsets":[-4,0]}}`, 4, `found -4 in data_offsets`},
		{"offset 2^64-1", "{" + entry("a", "U8", "[1]", math.MaxUint64-1, math.MaxUint64) + "}", 8, `expected an integer below 2^63`},
		{"offset 2^63-1", "{" + entry("a", "U8", "[1]", math.MaxInt64-1, math.MaxInt64) + "}", 8, `expected a start of 0`},
		{"size 2^63-1", "{" + entry("a", "U8", "[281474976710655,32768]", 0, 281474976710655*32768) + "}", 8, `the file is cut off or the offset is out of range`},
		{"out of range", "{" + entry("a", "F32", "[2]", 0, 8) + "}", 7, `tensor "a": found a file of 69 bytes, expected at least 70`},
		{"hole first", "{" + entry("a", "F32", "[1]", 4, 8) + "}", 8, `tensor "a": found data_offsets [4, 8], expected a start of 0: there is a hole`},
		{"hole between", "{" + good + "," + entry("b", "U8", "[1]", 9, 10) + "}", 10, `tensor "b": found data_offsets [9, 10], expected a start of 8: there is a hole`},
		{"overlap", "{" + good + "," + entry("b", "U8", "[2]", 7, 9) + "}", 9, `tensor "b": found data_offsets [7, 9], expected a start of 8: it overlaps`},
		{"same bytes", "{" + good + "," + strings.Replace(good, "a", "b", 1) + "}", 8, `tensor "b": found data_offsets [0, 8], expected a start of 8: it overlaps`},
		{"bytes after", "{" + good + "}", 9, `header: found 1 bytes after the last tensor`},
		{"bytes without tensors", "{}", 1, `found 1 bytes after the last tensor`},
		{"name with nul", `{"a\u0000":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 4, `a name with a NUL`},
		{"long name", "{" + entry(strings.Repeat("n", 513), "U8", "[1]", 0, 1) + "}", 1, `a name of 513 bytes, expected at most 512`},
		{"metadata number", `{"__metadata__":{"format":1}}`, 0, `__metadata__: line 1, column 27: found '1', expected a string`},
		{"metadata list", `{"__metadata__":[]}`, 0, `__metadata__: line 1`},
		{"metadata null", `{"__metadata__":null}`, 0, `__metadata__: line 1`},
		{"metadata twice", `{"__metadata__":{},"__metadata__":{}}`, 0, `duplicate key "__metadata__"`},
		{"metadata duplicate", `{"__metadata__":{"a":"1","a":"2"}}`, 0, `duplicate key "a"`},
		{"deep", `{"a":{"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}`, 0, `nested deeper than 100`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := openBytes(t, image(c.header, c.data))
			refused(t, err, c.message)
		})
	}
}

func TestMalformedLengths(t *testing.T) {
	body := image("{"+entry("a", "F32", "[2]", 0, 8)+"}", 8)
	for _, c := range []struct {
		length  uint64
		message string
	}{
		{1 << 63, "header: found a length of 9223372036854775808 bytes, expected at most 100000000"},
		{math.MaxUint64, "found a length of 18446744073709551615 bytes"},
		{math.MaxUint64 - 7, "expected at most 100000000"},
		{100_000_001, "expected at most 100000000"},
		{100_000_000, "expected a header that ends inside the file"},
		{uint64(len(body)) - 7, "expected a header that ends inside the file"},
		{uint64(len(body)) - 8, "expected the end of the text"},
		{0, "the text ends, expected an object"},
		{1, "the text ends"},
	} {
		content := append([]byte(nil), body...)
		binary.LittleEndian.PutUint64(content, c.length)
		_, err := openBytes(t, content)
		refused(t, err, c.message)
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	whole := image("{"+entry("a", "F32", "[2]", 0, 8)+","+entry("b", "BF16", "[3]", 8, 14)+"} ", 14)
	_, err := openBytes(t, whole)
	require.NoError(t, err)
	for n := range whole {
		_, err := openBytes(t, whole[:n])
		refused(t, err, "")
		if left := len(whole) - n; left <= 14 {
			lost := "b"
			if left > 6 {
				lost = "a"
			}
			refused(t, err, fmt.Sprintf("tensor %q: found a file of %d bytes", lost, n))
		}
	}
}

// TestMutatedHeaders changes every byte of a small file to several others: it is refused
// with a sentence, or what it says is consistent.
func TestMutatedHeaders(t *testing.T) {
	whole := image(`{"__metadata__":{"k":"v"},`+entry("a", "F32", "[2,1]", 0, 8)+","+entry("b", "I8", "[]", 8, 9)+"}", 9)
	path := filepath.Join(t.TempDir(), "some.safetensors")
	for i := range len(whole) - 9 {
		for _, c := range []byte{0, ' ', '"', '0', '9', '-', '{', ']', ',', 'x', 0x80, 0xff} {
			content := append([]byte(nil), whole...)
			content[i] = c
			require.NoError(t, os.WriteFile(path, content, 0o666))
			checkFile(t, path)
		}
	}
}

// checkFile opens a file that anybody wrote: the error is a sentence, or the tensors cover
// the file and can be read.
func checkFile(t testing.TB, path string) {
	f, err := Open(path)
	if err != nil {
		var sentence *fault.Error
		if !errors.As(err, &sentence) || sentence.Kind != fault.Files || sentence.Where != path {
			t.Fatalf("not a sentence: %v", err)
		}
		return
	}
	defer f.Close()
	end := f.header.start
	for _, name := range f.Names() {
		info, ok := f.Tensor(name)
		size, _ := DTypeSize(info.DType)
		for _, d := range info.Shape {
			size *= d
		}
		if !ok || info.Offset != end || info.Bytes != size {
			t.Fatalf("tensor %q of %+v does not follow %d", name, info, end)
		}
		end += size
		if err := f.Read(info, make([]byte, info.Bytes), 0); err != nil {
			t.Fatal(err)
		}
	}
	if end != f.header.size {
		t.Fatalf("tensors end at %d of %d", end, f.header.size)
	}
}

func TestAcceptedOddities(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		data   int
		names  []string
	}{
		"no tensors":              {"{}", 0, []string{}},
		"space before":            {" \n{}", 0, []string{}},
		"padding":                 {"{}  \t\r\n", 0, []string{}},
		"unknown member":          {`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1],"note":{"x":[1]}}}`, 1, []string{"a"}},
		"order of bytes":          {"{" + entry("a", "U8", "[1]", 4, 5) + "," + entry("b", "F32", "[]", 0, 4) + "}", 5, []string{"b", "a"}},
		"empty tensors":           {"{" + entry("b", "F32", "[0]", 0, 0) + "," + entry("a", "F32", "[2,0,3]", 0, 0) + "," + entry("c", "U8", "[1]", 0, 1) + "}", 1, []string{"a", "b", "c"}},
		"an empty one at the end": {"{" + entry("a", "U8", "[1]", 0, 1) + "," + entry("b", "F32", "[0]", 1, 1) + "}", 1, []string{"a", "b"}},
		"misaligned":              {"{" + entry("a", "U8", "[1]", 0, 1) + "," + entry("b", "F32", "[]", 1, 5) + "}", 5, []string{"a", "b"}},
		"rank 8":                  {"{" + entry("a", "U8", "[1,1,1,1,1,1,1,1]", 0, 1) + "}", 1, []string{"a"}},
		"name of 512 bytes":       {"{" + entry(strings.Repeat("n", 512), "U8", "[1]", 0, 1) + "}", 1, []string{strings.Repeat("n", 512)}},
		"empty name":              {"{" + entry("", "U8", "[1]", 0, 1) + "}", 1, []string{""}},
		"float 8":                 {"{" + entry("a", "F8_E4M3", "[3]", 0, 3) + "}", 3, []string{"a"}},
	} {
		f, err := openBytes(t, image(c.header, c.data))
		require.NoError(t, err, name)
		require.Equal(t, c.names, f.Names(), name)
		require.NoError(t, f.Close())
	}
}

func TestTooManyTensors(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a header of 75 MB, skipped by -short")
	}
	var b strings.Builder
	for i := range maxTensors + 1 {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(entry(fmt.Sprintf("tensor.%d", i), "U8", "[0]", 0, 0))
	}
	path := filepath.Join(t.TempDir(), "some.safetensors")
	require.NoError(t, os.WriteFile(path, image(b.String()+"}", 0), 0o666))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	_, err := Open(path)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	refused(t, err, "found more tensors, expected at most 1048576")
	t.Logf("refused in %v, %d MB allocated in all", took, (after.TotalAlloc-before.TotalAlloc)>>20)
}

// FuzzSafetensors: any bytes are refused with a sentence or can be read whole.
func FuzzSafetensors(f *testing.F) {
	f.Add(image("{}", 0))
	f.Add(image(`{"__metadata__":{"format":"pt"},`+entry("a", "F32", "[2]", 0, 8)+","+entry("b", "BF16", "[3]", 8, 14)+"}  ", 14))
	f.Add(image("{"+entry("a", "U8", "[281474976710655,281474976710655]", 0, 8)+"}", 8))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff{}"))
	oracle, err := os.ReadFile("../../testdata/oracles/steps/unequal.batches.safetensors")
	require.NoError(f, err)
	f.Add(oracle)
	path := filepath.Join(f.TempDir(), "some.safetensors")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
		checkFile(t, path)
	})
}
