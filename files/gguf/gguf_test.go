package gguf

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func numbers(n int) []float32 {
	source, values := rand.New(rand.NewPCG(1, 2)), make([]float32, n)
	for i := range values {
		values[i] = float32(source.NormFloat64())
	}
	return values
}

// What is written is read again, to the precision of its type.
func TestWrittenFilesAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	metadata := []Pair{{"general.architecture", "llama"}, {"a.flag", true}, {"a.count", uint32(7)}, {"a.number", float32(0.5)},
		{"a.texts", []string{"", "▁the", "x"}}, {"a.types", []int32{1, -2}}, {"a.scores", []float32{-1, 0}}}
	tensors := []Tensor{{"v", F32, []int64{5}}, {"f16", F16, []int64{2, 96}}, {"bf16", BF16, []int64{3, 7}}, {"q8", Q80, []int64{4, 64}}}
	w, err := Create(path, metadata, tensors)
	require.NoError(t, err)
	defer w.Abort()
	contents := map[string][]float32{}
	for _, s := range tensors {
		contents[s.Name] = numbers(int(s.count()))
		rows := contents[s.Name]
		for width := int(s.Shape[len(s.Shape)-1]); len(rows) > 0; rows = rows[width:] {
			require.NoFileExists(t, path)
			require.NoError(t, w.Write(s.Name, rows[:width]))
		}
	}
	require.NoError(t, w.Commit())

	f, err := Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, tensors, f.Tensors)
	for _, p := range metadata {
		require.Equal(t, p.Value, f.Metadata[p.Key])
	}
	for name, share := range map[string]float64{"v": 0, "f16": 1.0 / 2048, "bf16": 1.0 / 256, "q8": 1.0 / 50} {
		got, err := f.Floats(name)
		require.NoError(t, err)
		for i, x := range contents[name] {
			require.InDelta(t, x, got[i], share*max(1, math.Abs(float64(x))), "%s %d", name, i)
		}
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "GGUF\x03\x00\x00\x00", string(text[:8]))
	require.Zero(t, len(text)%alignment)
	require.Equal(t, uint64(len(tensors)), binary.LittleEndian.Uint64(text[8:]))
}

// The scale is a 127th of the largest, and halves go away from zero.
func TestQ8Blocks(t *testing.T) {
	block := make([]float32, q8Block)
	copy(block, []float32{127, -127, 0.5, -0.5, 1.49, 2.5})
	raw := appendQ8(nil, block)
	require.Equal(t, []byte{0x00, 0x3c, 127, 0x81, 1, 0xff, 1, 3}, raw[:8], "a scale of 1")
	require.Equal(t, make([]byte, q8Bytes), appendQ8(nil, make([]float32, q8Block)))
}

func TestMisuseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	for _, c := range []struct {
		metadata []Pair
		tensors  []Tensor
	}{
		{[]Pair{{"a", 1}}, nil},
		{[]Pair{{"a", true}, {"a", false}}, nil},
		{nil, []Tensor{{"a", Q80, []int64{4, 31}}}},
		{nil, []Tensor{{"a", F32, []int64{1}}, {"a", F32, []int64{1}}}},
		{nil, []Tensor{{"a", F32, nil}}},
		{nil, []Tensor{{"a", 99, []int64{1}}}},
	} {
		_, err := Create(path, c.metadata, c.tensors)
		require.Error(t, err)
	}
	w, err := Create(path, nil, []Tensor{{"a", F32, []int64{2}}})
	require.NoError(t, err)
	require.Error(t, w.Write("b", []float32{1}))
	require.Error(t, w.Write("a", []float32{1, 2, 3}))
	require.ErrorContains(t, w.Commit(), "was not written whole")
	require.NoFileExists(t, path)
}

func TestDamagedFilesAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	w, err := Create(path, []Pair{{"a", []string{"x", "y"}}, {"b", uint32(1)}}, []Tensor{{"t", F16, []int64{2, 3}}})
	require.NoError(t, err)
	require.NoError(t, w.Write("t", numbers(6)))
	require.NoError(t, w.Commit())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for n := range whole {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o666))
		f, err := Open(path)
		if err == nil {
			_, err = f.Floats("t")
			require.NoError(t, f.Close())
		}
		if n < len(whole)-alignment+12 {
			require.Error(t, err, n)
		}
	}
}
