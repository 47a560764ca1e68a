package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/internal/smalldisk"
)

func listing(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// contents reads every tensor of a file or folder.
func contents(t *testing.T, f interface {
	reader
	Names() []string
	Tensor(string) (Info, bool)
}) (specs []Spec, data map[string][]byte) {
	t.Helper()
	data = map[string][]byte{}
	for _, name := range f.Names() {
		info, _ := f.Tensor(name)
		specs = append(specs, Spec{name, info.DType, info.Shape})
		data[name] = make([]byte, info.Bytes)
		require.NoError(t, f.Read(info, data[name], 0))
	}
	return specs, data
}

func TestARewrittenFileIsTheSameBytes(t *testing.T) {
	for _, name := range []string{"steps/lora.initial/adapter_model.safetensors", "models/llama3/model.safetensors", "quant/hqq.safetensors", "forward/llama2.safetensors"} {
		f, err := Open(oracles + name)
		require.NoError(t, err)
		specs, data := contents(t, f)
		path := filepath.Join(t.TempDir(), "out.safetensors")
		w, err := Create(path, specs, f.Metadata())
		require.NoError(t, err)
		for _, s := range specs {
			require.NoError(t, w.WriteFrom(s.Name, bytes.NewReader(data[s.Name])))
		}
		require.NoError(t, w.Commit())
		require.NoError(t, f.Close())
		want, err := os.ReadFile(oracles + name)
		require.NoError(t, err)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), name)
	}
}

func TestWritingOutOfTurn(t *testing.T) {
	dir := t.TempDir()
	start := func() *Writer {
		w, err := Create(filepath.Join(dir, "x.safetensors"), []Spec{{"a", "U8", []int64{2}}, {"empty", "U8", []int64{0}}, {"b", "U8", []int64{1}}}, nil)
		require.NoError(t, err)
		return w
	}
	w := start()
	require.Error(t, w.Write("b", []byte{1}), "not its turn")
	require.Error(t, w.Write("a", []byte{1, 2, 3}), "too many")
	require.NoError(t, w.Write("a", []byte{1}))
	require.NoError(t, w.Write("a", nil))
	require.ErrorContains(t, w.Commit(), `tensor "a" was not written whole`)
	require.Empty(t, listing(t, dir))
	w = start()
	require.NoError(t, w.Write("a", []byte{1, 2}))
	require.NoError(t, w.Write("b", []byte{3}))
	require.Error(t, w.Write("b", []byte{3}), "after the end")
	require.NoError(t, w.Commit())
	w.Abort()
	require.Equal(t, []string{"x.safetensors"}, listing(t, dir))
	w = start()
	require.ErrorContains(t, w.WriteFrom("a", io.MultiReader(bytes.NewReader([]byte{1}), brokenReader{})), "broken")
	w.Abort()
	checkFile(t, filepath.Join(dir, "x.safetensors"))
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestTensorsThatCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	a := Spec{"a", "U8", []int64{1}}
	for _, specs := range [][]Spec{{a, a}, {{"__metadata__", "U8", nil}}, {{"a", "X", nil}}, {{"a", "U8", []int64{-1}}}, {{"a", "U8", make([]int64, 9)}},
		{{"\xff", "U8", nil}}, {{"\x00", "U8", nil}}, {{"a", "U8", []int64{1 << 48}}}, {{"a", "U8", []int64{1 << 47, 1 << 47}}}} {
		_, err := Create(path, specs, nil)
		require.Error(t, err, "%v", specs)
		_, err = WriteSharded(filepath.Dir(path), append(specs, specs...), 1)
		require.Error(t, err, "%v", specs)
	}
	require.Empty(t, listing(t, filepath.Dir(path)))
}

// saveModel writes tensors t0, t1, … of size bytes, each filled with mark.
func saveModel(dir string, tensors int, size int64, shard int64, mark byte) error {
	var specs []Spec
	for i := range tensors {
		specs = append(specs, Spec{fmt.Sprintf("t%d", i), "U8", []int64{size}})
	}
	m, err := WriteSharded(dir, specs, shard)
	if err != nil {
		return err
	}
	defer m.Abort()
	for _, s := range specs {
		if err := m.Write(s.Name, bytes.Repeat([]byte{mark}, int(size))); err != nil {
			return err
		}
	}
	return m.Commit()
}

func requireModel(t *testing.T, dir string, tensors int, mark byte) {
	t.Helper()
	f, err := OpenFolder(dir)
	require.NoError(t, err)
	specs, data := contents(t, f)
	require.Len(t, specs, tensors)
	for name, raw := range data {
		require.Equal(t, bytes.Repeat([]byte{mark}, len(raw)), raw, name)
	}
	require.Equal(t, PyTorchMetadata(), f.Metadata())
	require.NoError(t, f.Close())
}

func TestWriteShardedReplacesWhateverWasThere(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "run.yaml"), nil, 0o666))
	for i, c := range []struct {
		shard int64
		files []string
	}{
		{1000, []string{"model.safetensors"}},
		{20, []string{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "model.safetensors.index.json"}},
		{20, []string{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "model.safetensors.index.json"}},
		{39, []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}},
		{50, []string{"model.safetensors"}},
		{9, []string{"model-00001-of-00005.safetensors", "model-00002-of-00005.safetensors", "model-00003-of-00005.safetensors",
			"model-00004-of-00005.safetensors", "model-00005-of-00005.safetensors", "model.safetensors.index.json"}},
	} {
		require.NoError(t, saveModel(dir, 5, 10, c.shard, byte(i)))
		require.Equal(t, append(c.files, "run.yaml"), listing(t, dir))
		requireModel(t, dir, 5, byte(i))
	}
}

func TestAnIndexIsWhatTransformersWrites(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, saveModel(dir, 2, 10, 10, 0))
	text, err := os.ReadFile(filepath.Join(dir, indexName))
	require.NoError(t, err)
	require.Equal(t, `{
  "metadata": {
    "total_parameters": 20,
    "total_size": 20
  },
  "weight_map": {
    "t0": "model-00001-of-00002.safetensors",
    "t1": "model-00002-of-00002.safetensors"
  }
}
`, string(text))
}

func TestEmptyTensorsInShards(t *testing.T) {
	dir := t.TempDir()
	m, err := WriteSharded(dir, []Spec{{"a", "U8", []int64{1}}, {"b", "U8", []int64{1}}, {"c", "U8", []int64{0}}}, 1)
	require.NoError(t, err)
	require.NoError(t, m.Write("a", []byte{1}))
	require.Error(t, m.Commit(), "b is missing")
	require.Empty(t, listing(t, dir))
	_, err = WriteSharded(dir, nil, 1)
	require.Error(t, err)
}

func TestAFullDiskKeepsTheOldModel(t *testing.T) {
	for name, shard := range map[string]int64{"one file": 1 << 30, "shards": 40 << 10} {
		t.Run(name, func(t *testing.T) {
			dir := smalldisk.Mount(t, "512k")
			require.NoError(t, saveModel(dir, 4, 30<<10, shard, 1))
			before := listing(t, dir)
			err := saveModel(dir, 20, 30<<10, shard, 2)
			require.ErrorContains(t, err, "no space left on device")
			require.Equal(t, int(fault.Disk), fault.ExitCode(err))
			require.Equal(t, before, listing(t, dir))
			requireModel(t, dir, 4, 1)
			require.NoError(t, saveModel(dir, 4, 30<<10, shard, 3))
			requireModel(t, dir, 4, 3)
		})
	}
}
