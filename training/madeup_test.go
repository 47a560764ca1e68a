package training

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/model"
	"trainer/core/op"
	"trainer/files/peft"
)

// tableLoRA is LoRA on the embedding, as PEFT has it: e = W[ids] + s (B A)^T[ids]. Only the
// rows of A^T that ids name are multiplied.
type tableLoRA struct {
	a, b  *op.Value // [r, vocab], [hidden, r]
	scale float64
}

func hangTableLoRA(n *Network, spec model.Spec) adapter {
	if spec.Part != model.Embedding {
		return nil
	}
	module, rank, scale := moduleOf(spec.Name), n.LoRA.Rank, n.LoRA.Alpha/float64(n.LoRA.Rank)
	return tableLoRA{op.NewValue(module+".lora_embedding_A", op.State, op.Trainable, 0, rank, spec.Shape[0]),
		op.NewValue(module+".lora_embedding_B", op.State, op.Trainable, 0, spec.Shape[1], rank), scale}
}

func (l tableLoRA) trained() []*op.Value { return []*op.Value{l.a, l.b} }
func (l tableLoRA) derived() []*op.Value { return nil }

// start is PEFT's: of an embedding it is A that is zero.
func (l tableLoRA) start(b *op.Builder, s scalars) {
	start{v: l.a}.emit(b, s)
	start{v: l.b, bound: 1}.emit(b, s)
}

func (l tableLoRA) embed(b *op.Builder, dst, table, ids *op.Value) {
	rank := l.a.Shape[0]
	columns, rows := b.Value("a", op.Activation, l.a.Shape[1], rank), b.Value("a.rows", op.Activation, ids.Shape[0], rank)
	scaled, base := b.Value("a.scaled", op.Activation, rows.Shape...), b.Like("rows", dst)
	s := b.Fixed("s", abi.F32, 1)
	b.FillFloat(s, l.scale)
	b.Cast(columns, l.a.Transpose(0, 1))
	b.Gather(rows, columns, ids)
	b.Binary(abi.BinaryMul, scaled, rows, s)
	b.Gather(base, table, ids)
	b.Binary(abi.BinaryAdd, dst, base, b.Linear(op.Linear{Projections: []op.Projection{{Weight: op.DenseWeight(l.b)}}}, scaled, nil))
}

// A train type of one's own: one more row. It starts at the base, learns, and is saved, loaded
// and gone on with like any other.
func TestMadeUpTrainType(t *testing.T) {
	methods = append(methods, Method{Name: "table_lora", hang: hangTableLoRA})
	defer func() { methods = methods[:len(methods)-1] }()
	method, err := MethodByName("table_lora")
	require.NoError(t, err)
	for _, policy := range []string{"none", "block"} {
		start := func() *Engine {
			return testModel(t, "llama3", method, LoRA{Rank: 4, Alpha: 8, Targets: []string{"embed_tokens"}}, func(s *Settings) { s.Recompute = policy })
		}
		e, ids := start(), []int32{1, 5, 9, 200}
		base, err := e.Logits(ids, true)
		require.NoError(t, err)
		first, err := e.Logits(ids, false)
		require.NoError(t, err)
		require.True(t, slices.Equal(base, first))
		losses := trainSteps(t, e, 4)
		require.Less(t, losses[3], losses[0])

		dir := t.TempDir()
		require.NoError(t, e.SaveAdapter(dir, "base"))
		a, err := peft.ReadAdapter(dir)
		require.NoError(t, err)
		require.NoError(t, a.File.Close())
		require.Equal(t, []string{"base_model.model.model.embed_tokens.lora_embedding_A", "base_model.model.model.embed_tokens.lora_embedding_B"}, a.File.Names())
		again := start()
		require.NoError(t, again.LoadAdapter(dir))
		want, err := e.Logits(ids, false)
		require.NoError(t, err)
		got, err := again.Logits(ids, false)
		require.NoError(t, err)
		require.True(t, slices.Equal(want, got))
		require.False(t, slices.Equal(base, got))
	}
}
