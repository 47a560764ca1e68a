package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trainer/fault"
	"trainer/training"
	"trainer/training/config"
	"trainer/training/data"
)

// newGenerate makes `trainer generate`.
func newGenerate(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "generate --model_name DIR --prompt TEXT [flags]", Short: "answers of a model, of an adapter on it, or of both", Args: noArguments,
		Example: `  trainer generate --model_name DIR --adapter OUT --prompt 'What is 3 + 4?'
  trainer generate --model_name DIR --prompt 'Write a poem.' --temperature 0.7 --top_p 0.9 --seed 1`}
	settings := addSettings(cmd, inGroups([]config.Group{config.Device}, "model_name", "train_type", "precision", "memory_limit", "host_memory_limit"))
	var asked questions
	cmd.Flags().StringArrayVar(&asked.prompts, "prompt", nil, "answer the instruction `TEXT`; may be given several times, - reads it from standard input")
	cmd.Flags().StringVar(&asked.template, "template", templateAuto, "put the text into a template `NAME`: chat (the model's own), alpaca, or auto: chat where the model has one, else alpaca")
	cmd.Flags().BoolVar(&asked.raw, "raw", false, "continue the text as it is, without a template")
	cmd.Flags().StringVar(&asked.adapter, "adapter", "", "PEFT folder `DIR`")
	cmd.Flags().StringVar(&asked.of, "answer_of", "", "base, adapter or both, one below the other, `WHO` answers (both where an adapter is named)")
	cmd.Flags().Float64Var(&asked.sampling.Temperature, "temperature", 0, "divide scores by `X` and draw each token by chance; 0 = take the likeliest")
	cmd.Flags().Float64Var(&asked.sampling.TopP, "top_p", 1, "draw from the likeliest tokens that together have the share `X` of the probability")
	cmd.Flags().IntVar(&asked.sampling.TopK, "top_k", 0, "draw from the `N` likeliest tokens; 0 = all")
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
	prompts  []string
	template string
	raw      bool
	adapter  string
	of       string // ofBase, ofAdapter or ofBoth
	tokens   int
	sampling training.Sampling
}

// The values of --template.
const (
	templateAuto   = "auto"
	templateChat   = "chat"
	templateAlpaca = "alpaca"
)

// prepare checks the questions and makes the job.
func (q *questions) prepare(c config.Config) (job Job, err error) {
	q.sampling.Seed = c.Seed
	if q.of == "" {
		q.of = map[bool]string{true: ofBase, false: ofBoth}[q.adapter == ""]
	}
	job = Job{Command: "generate", Config: c, Adapter: q.adapter, MaxNewTokens: q.tokens, Sampling: q.sampling, AnswerOf: q.of}
	if err := required(map[string]string{"model_name": c.ModelName}, "model_name"); err != nil {
		return job, err
	}
	if len(q.prompts) == 0 {
		return job, fault.New(fault.Usage, "--prompt is missing: give a text to answer")
	}
	if err := q.check(); err != nil {
		return job, err
	}
	if job.ModelDir, err = checkModel(&job.Config); err != nil {
		return job, err
	}
	chat, err := data.LoadChat(job.ModelDir)
	if err != nil {
		return job, err
	}
	for _, p := range q.prompts {
		prompt, err := q.prompt(p, chat)
		if err != nil {
			return job, err
		}
		job.Prompts = append(job.Prompts, prompt)
	}
	if err := checkAdapter("--adapter", q.adapter); err != nil {
		return job, err
	}
	job.Device, err = chooseDevice(&job.Config)
	return job, err
}

// maxPrompt bounds the bytes of a prompt, all together well below a message.
const maxPrompt = 64 << 10

// check holds the flags against their bounds.
func (q *questions) check() error {
	refuse := func(name string, found any, want string) error {
		return &fault.Error{Kind: fault.Usage, Where: "--" + name, Found: fmt.Sprint(found), Want: want}
	}
	s := q.sampling
	switch {
	case q.tokens < 1 || q.tokens > 1<<20:
		return refuse("max_new_tokens", q.tokens, "a whole number from 1 to 1048576")
	case !(s.Temperature >= 0 && s.Temperature <= 1e6):
		return refuse("temperature", s.Temperature, "a number of at least 0")
	case !(s.TopP > 0 && s.TopP <= 1):
		return refuse("top_p", s.TopP, "a number above 0 and of at most 1")
	case s.TopK < 0:
		return refuse("top_k", s.TopK, "a whole number of at least 0")
	case !slices.Contains([]string{templateAuto, templateChat, templateAlpaca}, q.template):
		return refuse("template", q.template, "auto, chat or alpaca")
	case q.raw && q.template != templateAuto:
		return fault.New(fault.Usage, "found both --raw and --template, expected one of them")
	case !slices.Contains([]string{ofBase, ofAdapter, ofBoth}, q.of):
		return refuse("answer_of", q.of, "base, adapter or both")
	case q.of != ofBase && q.adapter == "":
		return fault.New(fault.Usage, "--adapter is missing: --answer_of %s needs one", q.of)
	}
	return nil
}

// prompt is what the model continues; chat is its template, nil where it has none.
func (q *questions) prompt(text string, chat *data.Chat) (p Prompt, err error) {
	if p.Text, err = readPrompt(text); err != nil {
		return p, err
	}
	p.Framed = true
	switch {
	case q.raw:
	case q.template == templateAlpaca || q.template == templateAuto && chat == nil:
		p.Text, err = alpacaPrompt(p.Text, "")
	case chat == nil:
		err = &fault.Error{Kind: fault.Usage, Where: "--template", Found: templateChat, Want: "a model that has a chat template", Remedy: "use --template alpaca, or --raw"}
	default:
		p.Framed = false
		p.Text, err = chat.Prompt([]data.Message{{Role: "user", Content: p.Text}})
	}
	return p, err
}

// readPrompt is the text of a prompt, which may stand on standard input.
func readPrompt(prompt string) (string, error) {
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
	return prompt, nil
}

// alpacaPrompt is the text before the answer to an instruction.
func alpacaPrompt(instruction, input string) (string, error) {
	text, _, err := data.Alpaca(data.Record{Fields: map[string]any{"instruction": instruction, "input": input, "output": ""}})
	return text, err
}

// answer writes one answer; with an adapter, whose it is.
func (c *console) answer(a Answer, q questions) {
	if q.of != ofBoth && len(q.prompts) == 1 {
		c.result("%s", printable(a.Text))
		return
	}
	c.result("%s", paint(coloured(c.out), "1", a.Model+":"))
	c.result("%s\n", strings.TrimSpace(printable(a.Text)))
}
