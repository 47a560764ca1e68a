package data

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"trainer/fault"
	"trainer/files/modeldir"
)

// namedSet is a data set known by name: where its rows come from and which of them count.
type namedSet struct {
	repository string         // on the Hub; "" = generated
	file       string         // its data file there, as published
	split      *regexp.Regexp // what the file's name says
	format     string
	samples    int // rows by default; 0 = all
	// pick says which rows count, of so many; nil = the first.
	pick func(total int, opts Options) []bool
}

// sampleRows is how many rows the sets take that do not take all.
const sampleRows = 512

// named are the data sets that a name alone stands for.
var named = map[string]namedSet{
	"alpaca":        {repository: "yahma/alpaca-cleaned", file: "alpaca_data_cleaned.json", split: trainSplit, format: "alpaca"},
	"alpaca_sample": {repository: "yahma/alpaca-cleaned", file: "alpaca_data_cleaned.json", split: trainSplit, format: "alpaca", samples: sampleRows},
	"dummy":         {format: "alpaca", samples: sampleRows},
	"guanaco":       {repository: "timdettmers/openassistant-guanaco", file: "openassistant_best_replies_train.jsonl", split: trainSplit, format: "guanaco"},
	"sql":           {repository: "knowrohit07/know_sql", file: "know_sql_val3{ign}.json", split: validationSplit, format: "qna", pick: pickSQL},
	"orca_math": {repository: "microsoft/orca-math-word-problems-200k", file: "data/train-00000-of-00001.parquet", split: trainSplit, format: "qna",
		samples: sampleRows, pick: pickOrcaMath},
}

// Names lists the data sets that a name alone stands for.
func Names() []string {
	var names []string
	for name := range named {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// pickSQL leaves out the first 1000 rows of the shuffled set.
func pickSQL(total int, opts Options) []bool {
	return among(total, permutation(opts.Seed, total)[min(1000, total):])
}

// pickOrcaMath takes the first rows of the shuffled set; its seed is fixed.
func pickOrcaMath(total int, opts Options) []bool {
	samples := opts.Samples
	if samples <= 0 {
		samples = sampleRows
	}
	return among(total, permutation(42, total)[:min(samples, total)])
}

func among(total int, rows []int) []bool {
	picked := make([]bool, total)
	for _, row := range rows {
		picked[row] = true
	}
	return picked
}

func (n namedSet) open(name string, opts Options) (*source, error) {
	s := &source{name: name, limit: max(0, opts.Samples)}
	if s.limit == 0 {
		s.limit = n.samples
	}
	if n.repository == "" {
		s.made = dummy(s.limit, opts.ContextLength)
		return s, nil
	}
	if n.pick != nil {
		s.pick = func(total int) []bool { return n.pick(total, opts) }
	}
	dir, ok := modeldir.Snapshot("datasets", n.repository)
	if !ok {
		return nil, n.absent(name)
	}
	var err error
	s.files, err = hubFiles(dir, n.split)
	return s, err
}

// absent says which file to place where.
func (n namedSet) absent(name string) error {
	place := filepath.Join(modeldir.RepositoryFolder("datasets", n.repository), "snapshots", "main", n.file)
	return &fault.Error{Kind: fault.Files, Where: "dataset " + name, Found: "no copy in the Hub cache",
		Want:   fmt.Sprintf("the data set %s", n.repository),
		Remedy: fmt.Sprintf("fetch it (hf download --repo-type dataset %s), or place its file %s at %s", n.repository, n.file, place)}
}

// dummy generates alpaca records that fill any context length.
func dummy(rows, context int) func(yield func(Record) error) error {
	fields := map[string]any{"instruction": "instruction", "input": "input", "output": strings.Repeat("output", 2*context)}
	return func(yield func(Record) error) error {
		for i := range rows {
			if err := yield(Record{File: "dummy", At: Position{Line: i + 1}, Fields: fields}); err != nil {
				return err
			}
		}
		return nil
	}
}
