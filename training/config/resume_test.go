package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

func TestListsOfResumeNameSettings(t *testing.T) {
	for _, name := range append(mayChange, chosen...) {
		s := find(name)
		require.NotNil(t, s, name)
		require.Equal(t, name, s.Name)
	}
}

func TestGoOn(t *testing.T) {
	began, err := flags(t, "lr", "0.5", "warmup_steps", "3")
	require.NoError(t, err)
	began.Precision, began.Recompute, began.Backend = "bf16", "block:2", "foo"

	c, err := flags(t, "lr", "0.5", "warmup_steps", "3", "max_steps", "9", "output_dir", "x", "resume", "auto")
	require.NoError(t, err)
	require.NoError(t, c.GoOn(began, "run.yaml"))
	assert.Equal(t, []string{"bf16", "block:2", "foo"}, []string{c.Precision, c.Recompute, c.Backend}, "what was chosen stays")
	assert.Equal(t, []any{9, "x", "auto"}, []any{c.MaxSteps, c.OutputDir, c.Resume})
	assert.False(t, c.SameLength(began))

	c, err = flags(t, "lr", "0.5", "warmup_steps", "3", "recompute", "none", "backend", "bar")
	require.NoError(t, err)
	require.NoError(t, c.GoOn(began, "run.yaml"))
	assert.Equal(t, []string{"bf16", "none", "bar"}, []string{c.Precision, c.Recompute, c.Backend}, "what is said counts")

	for _, x := range []struct{ name, value, want string }{
		{"lora_rank", "8", "--lora_rank: found 8, expected 64, as run.yaml has it; give what the run began with, or start afresh with another --output_dir"},
		{"train_type", "full", "--train_type: found full, expected qlora, as run.yaml has it; "},
		{"precision", "fp32", "--precision: found fp32, expected bf16, as run.yaml has it; "},
		{"grad_norm", "1", "--apply_gradient_clipping: found true, expected false, as run.yaml has it; "},
		{"cosine_min_lr_ratio", "0.2", "--cosine_min_lr_ratio: found 0.2, expected 0.1, as run.yaml has it; "},
	} {
		c, err := flags(t, "lr", "0.5", "warmup_steps", "3", x.name, x.value)
		require.NoError(t, err)
		err = c.GoOn(began, "run.yaml")
		assert.ErrorContains(t, err, x.want)
		assert.Equal(t, int(fault.Usage), fault.ExitCode(err))
	}
	c, err = flags(t, "lr", "0.5")
	require.NoError(t, err)
	assert.ErrorContains(t, c.GoOn(began, "run.yaml"), "--warmup_steps: found nothing, expected 3, as run.yaml has it; ")
}
