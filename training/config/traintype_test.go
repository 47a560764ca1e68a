package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTrainTypesImplyAQuantiserAndALearningRate(t *testing.T) {
	for name, want := range map[string]struct {
		method, quantiser string
		lr                float64
	}{
		"full": {"full", "none", 1e-5}, "custom_lora": {"lora", "none", 2e-4}, "custom_qlora": {"lora", "nf4", 2e-4}, "hqq_lora": {"lora", "hqq", 2e-4},
		"dora": {"dora", "none", 2e-4}, "bnb_dora": {"dora", "nf4", 2e-4}, "hqq_dora": {"dora", "hqq", 2e-4},
		"llama_pro": {"llama_pro", "none", 1e-5}, "bnb_llama_pro": {"llama_pro", "nf4", 1e-5}, "hqq_llama_pro": {"llama_pro", "hqq", 1e-5},
	} {
		c, err := flags(t, "train_type", name)
		require.NoError(t, err)
		require.Equal(t, want.method, c.Type().Method)
		require.Equal(t, want.quantiser, c.Quantization)
		require.Equal(t, want.lr, *c.LR)
	}
	c, err := flags(t, "train_type", "bnb_dora", "quantization", "mlx", "n_bits", "3", "hqq_group_size", "32")
	require.NoError(t, err)
	require.Equal(t, "mlx", c.Quantization)
	c, err = flags(t, "train_type", "llama_pro", "llama_pro_path", "some/blk_exp-2-3")
	require.NoError(t, err)
	require.Equal(t, "some/blk_exp-2-3", c.ModelName)
}

func TestQuantiserOfStoredWeights(t *testing.T) {
	for _, given := range [][]string{nil, {"train_type", "hqq_lora"}, {"train_type", "lora"}, {"quantization", "mlx"}} {
		c, err := flags(t, given...)
		require.NoError(t, err)
		before := c.Quantization
		require.NoError(t, c.KeepStored(""))
		require.Equal(t, before, c.Quantization)
		require.NoError(t, c.KeepStored("mlx"))
		require.Equal(t, "mlx", c.Quantization)
	}
	for want, given := range map[string][]string{
		"--quantization: found nf4 with a model that is stored as mlx, expected mlx; or name the folder of the original weights":                                         {"quantization", "nf4"},
		"--quantization: found none with a model that is stored as mlx, expected mlx; or name the folder of the original weights":                                        {"train_type", "lora", "quantization", "none"},
		"--train_type: found full with a model that is stored quantised (mlx), expected a train type with adapters; or name the folder of the original weights":          {"train_type", "full"},
		"--train_type: found hqq_llama_pro with a model that is stored quantised (mlx), expected a train type with adapters; or name the folder of the original weights": {"train_type", "hqq_llama_pro"},
	} {
		c, err := flags(t, given...)
		require.NoError(t, err)
		require.EqualError(t, c.KeepStored("mlx"), want)
	}
	var c Config
	began, err := flags(t)
	require.NoError(t, err)
	require.NoError(t, began.KeepStored("mlx"))
	require.NoError(t, c.UnmarshalBinary(began.Marshal()))
	require.NoError(t, c.Resolve())
	require.NoError(t, c.KeepStored("mlx"), "a run's own file says what it kept")
	require.ErrorContains(t, c.KeepStored("nf4"), "found mlx with a model that is stored as nf4")
}

func TestPatternsOfRanksAndAlphas(t *testing.T) {
	c, err := flags(t, "rank_pattern", ` q_proj=8, layers\.1\..*up_proj = 2`, "alpha_pattern", "v_proj=0.5")
	require.NoError(t, err)
	ranks, err := c.Ranks()
	require.NoError(t, err)
	require.Equal(t, map[string]int{"q_proj": 8, `layers\.1\..*up_proj`: 2}, ranks)
	alphas, err := c.Alphas()
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"v_proj": 0.5}, alphas)
}

func TestTrainTypesThatAreRefused(t *testing.T) {
	for want, given := range map[string][]string{
		"--quantization: found nf4 with --train_type full, expected none: what is trained is not quantised":                     {"train_type", "full", "quantization", "nf4"},
		"--llama_pro_path: found it with --train_type qlora, expected a train type with llama_pro in its name":                  {"llama_pro_path", "x"},
		"--n_bits: found 3 with --quantization nf4, expected 4, or another quantiser: hqq or mlx":                               {"n_bits", "3"},
		"--n_bits: found 5 with --quantization hqq, expected 8 4 3 2 1, or another quantiser: hqq or mlx":                       {"train_type", "hqq_lora", "n_bits", "5"},
		"--hqq_group_size: found 12, expected a multiple of 8":                                                                  {"hqq_group_size", "12"},
		"--hqq_axis: found 2, expected 0 or 1":                                                                                  {"hqq_axis", "2"},
		`--rank_pattern: found "q_proj", expected MODULE=VALUE, as q_proj=8, where MODULE is a name or a regular expression`:    {"rank_pattern", "q_proj"},
		`--rank_pattern: found "q_(proj=8", expected MODULE=VALUE, as q_proj=8, where MODULE is a name or a regular expression`: {"rank_pattern", "q_(proj=8"},
		`--rank_pattern: found "q_proj=0", expected a whole number from 1 to 65536 behind =`:                                    {"rank_pattern", "q_proj=0"},
		`--alpha_pattern: found "q_proj=-1", expected a number above 0 behind =`:                                                {"alpha_pattern", "q_proj=-1"},
	} {
		_, err := flags(t, given...)
		require.EqualError(t, err, want)
	}
}
