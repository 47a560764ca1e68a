package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/program"
)

// The node of every case is the same again when its record is decoded and encoded.
func TestRecordsDecodeToTheirNodes(t *testing.T) {
	for _, c := range Cases() {
		trial := c.trial(1)
		n := trial.subject()
		at := func(v *op.Value) program.Address { return program.Address{Slot: 1} }
		list := program.Encode([]*op.Node{n}, at, 1, 2, 64)
		_, records, err := abi.DecodeList(list)
		require.NoError(t, err)
		seen := map[uint32]*op.Value{}
		back, err := op.Decode(records[0], func(o abi.Operand) (*op.Value, error) {
			root := seen[o.ValueID]
			if root == nil {
				root = op.NewValue("v", op.State, op.Fixed, abi.DType(o.DType), 1<<40)
				if o.Slot == abi.SlotParams {
					root.Kind = op.Param
				}
				seen[o.ValueID] = root
			}
			v := *root
			v.Shape, v.Stride, v.Offset = o.Shape[:o.Rank], o.Stride[:o.Rank], int64(o.Offset)/int64(root.DType.Size())
			v.Root = root
			return &v, nil
		})
		require.NoError(t, err, "%s/%s", c.Op, c.Name)
		_, again, err := abi.DecodeList(program.Encode([]*op.Node{back}, at, 1, 2, 64))
		require.NoError(t, err)
		require.Equal(t, records[0].Attr, again[0].Attr, "%s/%s", c.Op, c.Name)
		for i, o := range records[0].Outputs {
			o.Kind = again[0].Outputs[i].Kind
			require.Equal(t, o, again[0].Outputs[i], "%s/%s output %d", c.Op, c.Name, i)
		}
		for i, o := range records[0].Inputs {
			o.Kind = again[0].Inputs[i].Kind
			require.Equal(t, o, again[0].Inputs[i], "%s/%s input %d", c.Op, c.Name, i)
		}
	}
}
