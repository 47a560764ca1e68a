package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"trainer/training/config"
	"trainer/training/data"
)

// recordReader tokenises data sets as the settings say, with the tokenizer and the chat template
// of a model's folder.
type recordReader struct {
	config config.Config
	dir    string
	tok    data.Tokenizer
	vocab  int // of the model; 0 = not known
}

// read tokenises the first records of a data set, 0 = all, or takes them from the cache. trouble
// says what the cache could not do.
func (r recordReader) read(name string, samples int) (set *data.Dataset, trouble, err error) {
	chat, err := data.LoadChat(r.dir)
	if err != nil {
		return nil, nil, err
	}
	cache, err := dataCache(r.config, r.dir)
	if err != nil {
		return nil, nil, err
	}
	c := r.config
	return cache.Load(name, data.Options{Format: c.DatasetFormat, Samples: samples, ContextLength: c.ContextLength, VocabSize: r.vocab, Seed: c.Seed, Chat: chat}, r.tok)
}

// dataset reads a data set of the job and tells what was left out of it.
func (w *workshop) dataset(events Events, path string, samples int) (*data.Dataset, error) {
	c := w.job.Config
	d, trouble, err := recordReader{c, w.texts, w.tok, int(w.model.Vocab())}.read(path, samples)
	if err != nil {
		return nil, err
	}
	if trouble != nil {
		if err := events.Log("cache of data sets: %v", trouble); err != nil {
			return nil, err
		}
	}
	line := filepath.Base(path) + ": " + statsText(d.Stats)
	if c.Packing {
		rows := len(d.Examples)
		w.packed = max(w.packed, int64(slices.Max(d.ExampleLengths())))
		d = d.Packed(c.ContextLength)
		line += fmt.Sprintf("; %s samples packed into %s rows", grouped(int64(rows)), grouped(int64(len(d.Examples))))
	}
	w.longest = max(w.longest, int64(slices.Max(d.ExampleLengths())))
	return d, events.Log("%s", line)
}

// statsText is what became of the records, for people.
func statsText(s data.Stats) string {
	text := fmt.Sprintf("%s records, %s tokens, %s learned", grouped(int64(s.Records)), grouped(int64(s.Tokens)), grouped(int64(s.Labelled)))
	if s.Skipped > 0 {
		text += fmt.Sprintf("; %s left out with nothing to learn", grouped(int64(s.Skipped)))
	}
	if s.Truncated > 0 {
		text += fmt.Sprintf("; %s cut, --context_length %d fits all", grouped(int64(s.Truncated)), s.MaxLength)
	}
	return text
}

// cacheLimit bounds the files of the data cache: about 1.9 billion tokens.
const cacheLimit = 16 << 30

// dataCache keeps the tokenised data sets of a run; dir is the folder of its tokenizer.
func dataCache(c config.Config, dir string) (cache data.Cache, err error) {
	cache.Limit = cacheLimit
	switch c.DataCache {
	case "none":
		return cache, nil
	case "auto":
		user, err := os.UserCacheDir()
		if err != nil { // no home: nothing is kept
			return cache, nil
		}
		cache.Dir = filepath.Join(user, "trainer", "data")
	default:
		cache.Dir = c.DataCache
	}
	cache.Maker, err = data.CacheMaker(dir, thisBuild())
	return cache, err
}

// thisBuild tells this build of the program from others, which may tokenise otherwise.
func thisBuild() string {
	text := versionLine()
	if path, err := os.Executable(); err == nil {
		if info, err := os.Stat(path); err == nil {
			text += fmt.Sprint(" ", info.Size(), " ", info.ModTime().UnixNano())
		}
	}
	return text
}
