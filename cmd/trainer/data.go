package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trainer/fault"
	"trainer/llama/tokenizer"
	"trainer/training/config"
	"trainer/training/data"
)

// newData makes `trainer data` with its commands.
func newData(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "data", Short: "look at a data set as training sees it", Args: noArguments}
	cmd.RunE = func(*cobra.Command, []string) error { help(cmd, nil); return nil }
	cmd.AddCommand(newDataShow(c))
	return cmd
}

// newDataShow makes `trainer data show`.
func newDataShow(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "show --model_name DIR --dataset DATA [flags]", Short: "rendered records, their tokens and which are learned, and lengths", Args: noArguments}
	settings := addSettings(cmd, inGroups(nil, "model_name", "dataset", "dataset_format", "dataset_samples", "data_cache", "context_length", "packing", "seed"))
	rows := cmd.Flags().Int("rows", 3, "show `N` records")
	first := cmd.Flags().Int("row", 0, "begin with record `N` of the file, counted from 0")
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := settings.config(nil)
		if err != nil {
			return err
		}
		set, tok, err := loadData(s)
		if err != nil {
			return err
		}
		shown, err := choose(set.Examples, *first, *rows)
		if err != nil {
			return err
		}
		var packed *data.Packing
		if s.Packing {
			packed = set.Packing(s.ContextLength)
		}
		return c.showData(set, shown, packed, tok, *asJSON)
	}
	return cmd
}

// loadData tokenises the data set as a training run does.
func loadData(s config.Config) (*data.Dataset, *tokenizer.Tokenizer, error) {
	if err := required(map[string]string{"model_name": s.ModelName, "dataset": s.Dataset}, "model_name", "dataset"); err != nil {
		return nil, nil, err
	}
	dir, err := modelFolder(s.ModelName)
	if err != nil {
		return nil, nil, err
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		return nil, nil, err
	}
	set, _, err := recordReader{config: s, dir: dir, tok: tok}.read(s.Dataset, s.DatasetSamples)
	return set, tok, err
}

// choose takes count examples from the one of record number first on.
func choose(all []data.Example, first, count int) ([]data.Example, error) {
	if count < 0 {
		return nil, &fault.Error{Kind: fault.Usage, Where: "--rows", Found: fmt.Sprint(count), Want: "at least 0"}
	}
	for i, e := range all {
		if e.Row >= first {
			return all[i:min(len(all), i+count)], nil
		}
	}
	return nil, &fault.Error{Kind: fault.Usage, Where: "--row", Found: fmt.Sprint(first), Want: fmt.Sprintf("a number from 0 to %d", all[len(all)-1].Row)}
}

// showData writes examples and the statistics of the whole set; packed may be nil.
func (c *console) showData(set *data.Dataset, shown []data.Example, packed *data.Packing, tok data.Tokenizer, asJSON bool) error {
	rendered := make([]data.Rendered, len(shown))
	for i, e := range shown {
		rendered[i] = data.Render(e, tok)
	}
	if asJSON {
		all := map[string]any{"rows": rendered, "stats": set.Stats, "lengths": set.Lengths(), "format": set.Format}
		if packed != nil {
			all["packing"] = packed
		}
		return c.json(all)
	}
	for _, r := range rendered {
		c.showRow(r)
	}
	s, l := set.Stats, set.Lengths()
	c.result("%s records as %s: %s to learn from, %s without anything to learn, %s cut by the context length (%d tokens fit all)",
		grouped(int64(s.Records)), set.Format, grouped(int64(s.Examples)), grouped(int64(s.Skipped)), grouped(int64(s.Truncated)), s.MaxLength)
	c.result("%s tokens, %s learned, %.1f %% masked", grouped(int64(s.Tokens)), grouped(int64(s.Labelled)), 100*l.ShareMasked)
	c.result("tokens a record: least %d, mean %.1f, half up to %d, 90 %% up to %d, 99 %% up to %d, most %d", l.Min, l.Mean, l.P50, l.P90, l.P99, l.Max)
	if packed != nil {
		c.result("packed into %s rows, %.1f %% full", grouped(int64(packed.Rows)), 100*packed.Fill)
	}
	return nil
}

// showRow writes one example: its text, then its tokens. Masked ones are dim; without
// colour the learned tokens stand in brackets.
func (c *console) showRow(r data.Rendered) {
	colour := coloured(c.out)
	c.result("%s", paint(colour, "1", fmt.Sprintf("record %d, %d tokens", r.Row, len(r.Tokens))))
	var text strings.Builder
	for _, p := range r.Passages {
		text.WriteString(paint(colour, colourOf(p.Masked), printable(p.Text)))
	}
	c.result("%s", text.String())
	var b strings.Builder
	for i, t := range r.Tokens {
		if i > 0 {
			b.WriteByte(' ')
		}
		text := visible(t.Text)
		if !colour && !t.Masked {
			text = "[" + text + "]"
		}
		b.WriteString(paint(colour, colourOf(t.Masked), text))
	}
	c.result("%s\n", b.String())
}

// colourOf is how text that is masked, or learned, is painted.
func colourOf(masked bool) string {
	if masked {
		return "2"
	}
	return "32"
}

// visible writes a token so that spaces and line ends can be seen and nothing in it can
// command the terminal.
func visible(text string) string {
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], " ", "·")
}
