package llama

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tables of yarn and longrope are those that Transformers 5.24 computes: testdata/rope.json
// holds configs, what it made of them as bits of float32, and the tokens of the text.
func TestScaledInverseFrequencies(t *testing.T) {
	text, err := os.ReadFile("testdata/rope.json")
	require.NoError(t, err)
	var cases []struct {
		Config          json.RawMessage
		Tokens          int64
		InvFreq         []int32 `json:"inv_freq"`
		AttentionFactor float64 `json:"attention_factor"`
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	require.Len(t, cases, 12)
	for i, c := range cases {
		config, err := ParseConfig("config.json", c.Config)
		require.NoError(t, err)
		got, scale := config.InvFreq(c.Tokens)
		require.InDelta(t, c.AttentionFactor, scale, 1e-12, "%s", c.Config)
		require.Len(t, got, len(c.InvFreq))
		for k, bits := range c.InvFreq {
			require.InEpsilon(t, math.Float32frombits(uint32(bits)), got[k], 3e-7, "case %d, frequency %d of %s", i, k, c.Config)
		}
	}
}

func TestScalingsThatAreNoSense(t *testing.T) {
	refused := func(scaling, want string) {
		t.Helper()
		_, err := ParseConfig("config.json", []byte(fmt.Sprintf(`{"model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":1,`+
			`"num_attention_heads":4,"vocab_size":320,"rope_scaling":%s}`, scaling)))
		require.ErrorContains(t, err, want)
	}
	refused(`{"rope_type":"dynamic","factor":2}`, `found "dynamic", expected default, linear, llama3, yarn or longrope; this rotary embedding is not supported`)
	refused(`{"rope_type":"yarn","factor":0}`, "field rope_scaling.factor: found 0")
	refused(`{"rope_type":"yarn","attention_factor":-1}`, "field rope_scaling.attention_factor: found -1")
	refused(`{"rope_type":"longrope","long_factor":[1,1,1,1,1,1,1,1]}`, "field rope_scaling.short_factor: found nothing")
	refused(`{"rope_type":"longrope","short_factor":[1,2],"long_factor":[1,1,1,1,1,1,1,1]}`, "field rope_scaling.short_factor: found 2 numbers, expected a list of 8, half of the features that are rotated")
	refused(`{"rope_type":"longrope","short_factor":[1,1,1,1,1,1,1,0],"long_factor":[1,1,1,1,1,1,1,1]}`, "field rope_scaling.short_factor: found 0, expected numbers from 0.001 to 1e+06")
	refused(`{"rope_type":"longrope","short_factor":7,"long_factor":[1,1,1,1,1,1,1,1]}`, "field rope_scaling.short_factor: found 0 numbers")
}
