package safetensors

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

const oracles = "../../testdata/oracles/"

func TestEveryOracleOpens(t *testing.T) {
	for _, pattern := range []string{"*/*.safetensors", "*/*/*.safetensors"} {
		paths, err := filepath.Glob(oracles + pattern)
		require.NoError(t, err)
		require.NotEmpty(t, paths)
		for _, path := range paths {
			checkFile(t, path)
			f, err := Open(path)
			require.NoError(t, err)
			require.NotEmpty(t, f.Names())
			require.NoError(t, f.Close())
		}
	}
}

// writeFile makes a file of one tensor a.
func writeFile(t *testing.T, dtype string, shape []int64, data []byte) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "some.safetensors")
	w, err := Create(path, []Spec{{"a", dtype, shape}}, nil)
	require.NoError(t, err)
	require.NoError(t, w.Write("a", data))
	require.NoError(t, w.Commit())
	f, err := Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func TestFloats(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		dtype string
		data  []byte
		want  []float32
	}{
		{"F32", []byte{0, 0, 128, 63, 0, 0, 0, 192}, []float32{1, -2}},
		{"BF16", []byte{128, 63, 0, 192, 128, 255}, []float32{1, -2, -inf}},
		{"F16", []byte{0, 60, 0, 192, 0, 252, 1, 0, 255, 3, 255, 123, 0, 128}, []float32{1, -2, -inf, 0x1p-24, 1023 * 0x1p-24, 65504, 0}},
		{"F64", []byte{0, 0, 0, 0, 0, 0, 240, 63}, []float32{1}},
	} {
		f := writeFile(t, c.dtype, []int64{int64(len(c.want))}, c.data)
		info, ok := f.Tensor("a")
		require.True(t, ok)
		got, err := f.ReadFloat32(info)
		require.NoError(t, err)
		require.Equal(t, c.want, got, c.dtype)
		require.True(t, IsFloat(c.dtype))
		_, err = f.ReadInts(info)
		require.ErrorContains(t, err, `tensor "a": found dtype `+c.dtype+`, expected an integer dtype`)
	}
	require.True(t, math.Signbit(float64(halfToFloat(0x8000))), "minus zero")
	require.True(t, math.IsNaN(float64(halfToFloat(0x7e00))))
}

func TestInts(t *testing.T) {
	ones := []byte{255, 255, 255, 255, 255, 255, 255, 255}
	for dtype, want := range map[string][]int64{
		"I64": {-1}, "I32": {-1, -1}, "I16": {-1, -1, -1, -1}, "I8": {-1, -1, -1, -1, -1, -1, -1, -1},
		"U32": {math.MaxUint32, math.MaxUint32}, "U16": {65535, 65535, 65535, 65535}, "U8": {255, 255, 255, 255, 255, 255, 255, 255}} {
		f := writeFile(t, dtype, []int64{int64(len(want))}, ones)
		info, _ := f.Tensor("a")
		got, err := f.ReadInts(info)
		require.NoError(t, err)
		require.Equal(t, want, got, dtype)
		_, err = f.ReadFloat32(info)
		require.ErrorContains(t, err, "found dtype "+dtype)
	}
}

func TestReadingInPieces(t *testing.T) {
	data := make([]byte, 3*decodeBytes/2)
	for i := range data {
		data[i] = byte(i * 7)
	}
	f := writeFile(t, "U8", []int64{int64(len(data))}, data)
	info, _ := f.Tensor("a")
	ints, err := f.ReadInts(info)
	require.NoError(t, err)
	require.Len(t, ints, len(data))
	require.Equal(t, int64(data[len(data)-1]), ints[len(ints)-1])
	piece := make([]byte, 1000)
	require.NoError(t, f.Read(info, piece, decodeBytes-500))
	require.True(t, bytes.Equal(data[decodeBytes-500:decodeBytes+500], piece))
	require.NoError(t, f.Read(info, nil, info.Bytes))
	for _, off := range []int64{-1, info.Bytes - 999, math.MaxInt64} {
		require.Error(t, f.Read(info, piece, off))
	}
}

func TestAFileThatBecomesShorter(t *testing.T) {
	f := writeFile(t, "F32", []int64{2}, make([]byte, 8))
	require.NoError(t, os.Truncate(f.Path(), f.header.size-3))
	info, _ := f.Tensor("a")
	_, err := f.ReadFloat32(info)
	refused(t, err, `tensor "a": the file became shorter while it was read`)
}

func TestAbsentFilesAndTensors(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "x.safetensors"))
	refused(t, err, "x.safetensors: file does not exist")
	_, err = Open(t.TempDir())
	require.Equal(t, int(fault.Files), fault.ExitCode(err))
	f := writeFile(t, "U8", []int64{1}, []byte{1})
	_, ok := f.Tensor("b")
	require.False(t, ok)
	require.Nil(t, f.Metadata())
}
