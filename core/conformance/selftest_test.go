package conformance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
)

// kindsOfCases are the kinds of one case in so many.
func kindsOfCases(every int) (kinds []program.Kind) {
	for i, c := range Cases() {
		if i%every == 0 {
			kinds = append(kinds, program.KindOf(c.trial(0).subject()))
		}
	}
	return kinds
}

// What a run needs is judged in a moment, and whatever is wrong has the name of its op.
func TestSelfTest(t *testing.T) {
	t.Setenv("TRAINER_BACKEND", backendPath(t))
	b := load(t, "faulty", buildFaulty(t))
	kinds := kindsOfCases(20)
	for _, fault := range []string{"none", "value", "nan", "outside", "input"} {
		t.Setenv("TRAINER_FAULT", fault)
		dev, err := b.OpenDevice(0, plugin.DeviceOptions{})
		require.NoError(t, err)
		judged, err := SelfTest(dev, kinds, time.Minute)
		if fault == "none" {
			require.NoError(t, err)
			require.Greater(t, judged, 30)
		} else {
			var wrong *Wrong
			require.ErrorAs(t, err, &wrong)
			require.NotEmpty(t, wrong.Op)
		}
		require.NoError(t, dev.Close())
	}
}

// Every kind of a run has a case that is small and shows something.
func TestChosenCases(t *testing.T) {
	kinds := kindsOfCases(1)
	cases := chosen(kinds)
	ops := map[string]bool{}
	for _, c := range cases {
		ops[c.Op] = true
		m := measure(c)
		require.Positive(t, m.elements, "%s/%s", c.Op, c.Name)
		require.LessOrEqual(t, m.elements, int64(1<<17), "%s/%s", c.Op, c.Name)
	}
	for _, f := range op.Families() {
		require.True(t, ops[f.Name], f.Name)
	}
	odd := program.Kind{Query: abi.OpQuery{Op: uint32(abi.OpRmsnorm), Version: 1, DType: 99}}
	require.Len(t, chosen([]program.Kind{odd}), 1, "a kind without a case gets one of its op")
}
