package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"trainer/fault"
	"trainer/training/config"
	"trainer/training/data"
)

// newGenerate makes `trainer generate`.
func newGenerate(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "generate --model_name DIR --prompt TEXT [flags]", Short: "answers of a model, of an adapter on it, or of both", Args: noArguments,
		Example: "  trainer generate --model_name DIR --adapter OUT --prompt 'What is 3 + 4?'"}
	settings := addSettings(cmd, inGroups([]config.Group{config.Device}, "model_name", "train_type", "precision", "memory_limit", "host_memory_limit"))
	var asked questions
	cmd.Flags().StringArrayVar(&asked.prompts, "prompt", nil, "answer the instruction `TEXT`; may be given several times, - reads it from standard input")
	cmd.Flags().BoolVar(&asked.raw, "raw", false, "continue the text as it is, without the alpaca template")
	cmd.Flags().StringVar(&asked.adapter, "adapter", "", "PEFT folder `DIR`; the base answers too, for comparison")
	cmd.Flags().IntVar(&asked.tokens, "max_new_tokens", 128, "most tokens `N` of an answer")
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		settings, err := settings.config(func(c *config.Config) { c.TrainType = "lora" })
		if err != nil {
			return err
		}
		job, err := asked.prepare(settings)
		if err != nil {
			return err
		}
		return c.generate(job, asked, *asJSON)
	}
	return cmd
}

// generate has the answers made and shows each as it comes; as JSON all together.
func (c *console) generate(job Job, asked questions, asJSON bool) error {
	c.note("%s", job.Device.Why)
	answers := []Answer{}
	_, err := launch(job, func(e event) error {
		if e.Answer != nil {
			answers = append(answers, *e.Answer)
			if !asJSON {
				c.answer(*e.Answer, asked)
			}
		}
		return c.showLog(e)
	})
	if err == nil && asJSON {
		err = c.json(answers)
	}
	return err
}

// questions are what generate is asked.
type questions struct {
	prompts []string
	raw     bool
	adapter string
	tokens  int
}

// prepare checks the questions and makes the job.
func (q *questions) prepare(c config.Config) (job Job, err error) {
	job = Job{Command: "generate", Config: c, Adapter: q.adapter, MaxNewTokens: q.tokens}
	if err := required(map[string]string{"model_name": c.ModelName}, "model_name"); err != nil {
		return job, err
	}
	if len(q.prompts) == 0 {
		return job, fault.New(fault.Usage, "--prompt is missing: give a text to answer")
	}
	if q.tokens < 1 || q.tokens > 1<<20 {
		return job, &fault.Error{Kind: fault.Usage, Where: "--max_new_tokens", Found: fmt.Sprint(q.tokens), Want: "a whole number from 1 to 1048576"}
	}
	for _, p := range q.prompts {
		text, err := q.text(p)
		if err != nil {
			return job, err
		}
		job.Prompts = append(job.Prompts, text)
	}
	if job.ModelDir, err = checkModel(c); err != nil {
		return job, err
	}
	if err := checkAdapter("--adapter", q.adapter); err != nil {
		return job, err
	}
	job.Device, err = chooseDevice(&job.Config)
	return job, err
}

// maxPrompt bounds the bytes of a prompt, all together well below a message.
const maxPrompt = 64 << 10

// text is what the model continues.
func (q *questions) text(prompt string) (string, error) {
	if prompt == "-" {
		in, err := io.ReadAll(io.LimitReader(os.Stdin, maxPrompt+1))
		if err != nil {
			return "", fault.New(fault.Files, "standard input: %w", err)
		}
		prompt = strings.TrimRight(string(in), "\n")
	}
	if len(prompt) > maxPrompt {
		return "", &fault.Error{Kind: fault.Usage, Where: "--prompt", Found: "a longer text", Want: fmt.Sprintf("at most %d bytes", maxPrompt)}
	}
	if q.raw {
		return prompt, nil
	}
	return alpacaPrompt(prompt, "")
}

// alpacaPrompt is the text before the answer to an instruction.
func alpacaPrompt(instruction, input string) (string, error) {
	text, _, err := data.Alpaca(data.Record{Fields: map[string]any{"instruction": instruction, "input": input, "output": ""}})
	return text, err
}

// answer writes one answer; with an adapter, whose it is.
func (c *console) answer(a Answer, q questions) {
	if q.adapter == "" && len(q.prompts) == 1 {
		c.result("%s", printable(a.Text))
		return
	}
	c.result("%s", paint(coloured(c.out), "1", a.Model+":"))
	c.result("%s\n", strings.TrimSpace(printable(a.Text)))
}
