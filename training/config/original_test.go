package config

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

var update = flag.Bool("update", false, "write docs/flags.md")

const document = "../../docs/flags.md"

func TestDocumentIsCurrent(t *testing.T) {
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(Document()), 0o666))
	}
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	require.Equal(t, Document(), string(text), "go test ./training/config -run Document -update")
}

// Every flag of fsdp_qlora is a setting or has an answer, and not both.
func TestOriginalsAreAnswered(t *testing.T) {
	require.Len(t, originals, 60) // as many as its newest command line has
	seen := map[string]bool{}
	for _, o := range originals {
		require.False(t, seen[o.Name], o.Name)
		seen[o.Name] = true
		if s := find(o.Name); s != nil {
			require.Equal(t, o.Name, s.Name, "an alias of something else")
			continue
		}
		require.NotEmpty(t, o.Answer, o.Name)
		require.Contains(t, Groups, o.Group, o.Name)
		c := Default()
		for _, idle := range o.Idle {
			require.NoError(t, FromFlags(&c).Set(o.Name, idle))
		}
		require.Equal(t, Default(), c)
		err := FromFlags(&c).Set(o.Name, "7")
		require.ErrorContains(t, err, "--"+o.Name+": ")
		require.ErrorContains(t, err, o.Answer)
		require.Equal(t, int(fault.Usage), fault.ExitCode(err))
	}
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"world-size", "8", "--world_size: found 8, expected -1 or 1; training on several devices is not here yet: a run trains on one"},
		{"sharding_strategy", "ddp", "--sharding_strategy: training on several devices is not here yet: a run trains on one"},
		{"use_cpu_offload", "true", "--use_cpu_offload: found true, expected auto or false; moving things to the host is not here yet: trainer plan says what fits, and --recompute saves memory"},
		{"log_to", "wandb", "--log_to: found wandb, expected one of tqdm, stdout; logging to wandb is not here yet: metrics.jsonl in the output folder has every number"},
	} {
		_, err := flags(t, c.name, c.value)
		require.EqualError(t, err, c.want)
	}
	c := Default()
	require.EqualError(t, Parse(&c, "f", []byte("low_memory: true\nmaster_port: 1")), "f: line 2: master_port: training on several devices is not here yet: a run trains on one")
}
