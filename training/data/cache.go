package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"trainer/files/safetensors"
)

// Cache keeps tokenised data sets as files named by what they were made of: the bytes of the
// data, the options, the chat template, and Maker.
type Cache struct {
	Dir   string // made where it is missing; empty = nothing is kept
	Maker string // what else decides about tokens: the tokenizer's files and the program
	Limit int64  // bytes of all files; 0 = none. A single data set may take more
}

// Load is Load, but takes the data set from the cache where it is there and whole. Otherwise
// it leaves it there for the next time, in place of those not used for longest where the cache is
// full; trouble says why it could not.
func (c Cache) Load(name string, opts Options, tok Tokenizer) (d *Dataset, trouble, err error) {
	path, err := c.path(name, opts, tok)
	if err != nil || path == "" {
		d, err = Load(name, opts, tok) // whose error names the place
		return d, nil, err
	}
	if d = readCached(path); d != nil {
		used(path)
		return d, nil, nil
	}
	if d, err = Load(name, opts, tok); err != nil {
		return nil, nil, err
	}
	if trouble = d.writeCached(path); trouble == nil {
		trouble = c.prune(path)
	}
	return d, trouble, nil
}

// path is where a data set is kept; empty where it is not.
func (c Cache) path(name string, opts Options, tok Tokenizer) (string, error) {
	kind, _, err := splitFormat(opts.Format)
	if err != nil || c.Dir == "" {
		return "", err
	}
	s, err := openSource(name, kind, opts)
	if err != nil || s.made != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %q %q %d %d %d %d %d\n", c.Maker, namedFormat(name), opts.Format, s.limit, opts.ContextLength, opts.VocabSize, tok.VocabSize(), opts.Seed)
	if opts.Chat != nil {
		tokens, err := json.Marshal(opts.Chat.tokens)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%q %s\n", opts.Chat.source, tokens)
	}
	for _, f := range s.files {
		if err := f.addTo(hash); err != nil {
			return "", err
		}
	}
	return filepath.Join(c.Dir, hex.EncodeToString(hash.Sum(nil))+".safetensors"), nil
}

// namedFormat is the name of a data set whose rows and format the name decides.
func namedFormat(name string) string {
	if _, ok := named[name]; ok {
		return name
	}
	return ""
}

// addTo hashes the type and the bytes of a file.
func (f dataFile) addTo(hash io.Writer) error {
	in, size, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close()
	fmt.Fprintln(hash, f.kind, size)
	_, err = io.Copy(hash, in)
	return err
}

// The tensors of a cached data set of R records, E examples and T tokens.
const (
	cachedIDs      = "ids"      // I32 [T]
	cachedExamples = "examples" // I32 [E,2], record number and tokens
	cachedLengths  = "lengths"  // I32 [R], tokens before cutting
	cachedLearned  = "learned"  // U8 [T], 1 where a token is its own label
)

var cachedTensors = []string{cachedIDs, cachedExamples, cachedLengths, cachedLearned}

// cachedDigest is the metadata that tells a whole file from a damaged one, cachedAbout the
// rest of a Dataset as JSON.
const (
	cachedDigest = "digest"
	cachedAbout  = "dataset"
)

type about struct {
	Stats  Stats
	Format string
}

// pack lays a data set out as tensors.
func (d *Dataset) pack() map[string][]byte {
	t := map[string][]byte{}
	for _, e := range d.Examples {
		t[cachedExamples] = appendInts(t[cachedExamples], int32(e.Row), int32(len(e.IDs)))
		t[cachedIDs] = appendInts(t[cachedIDs], e.IDs...)
		for i, label := range e.Labels {
			learned := byte(0)
			if label == e.IDs[i] {
				learned = 1
			}
			t[cachedLearned] = append(t[cachedLearned], learned)
		}
	}
	t[cachedLengths] = appendInts(nil, d.lengths...)
	return t
}

// unpack is pack's inverse.
func (d *Dataset) unpack(t map[string][]byte) {
	ids, sizes := ints(t[cachedIDs]), ints(t[cachedExamples])
	labels := make([]int32, len(ids))
	for i, learned := range t[cachedLearned] {
		labels[i] = Ignored
		if learned == 1 {
			labels[i] = ids[i]
		}
	}
	for at := 0; len(sizes) > 0; sizes = sizes[2:] {
		end := at + int(sizes[1])
		d.Examples = append(d.Examples, Example{Row: int(sizes[0]), IDs: ids[at:end:end], Labels: labels[at:end:end]})
		at = end
	}
	d.lengths = ints(t[cachedLengths])
}

func appendInts(out []byte, values ...int32) []byte {
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, uint32(v))
	}
	return out
}

func ints(raw []byte) []int32 {
	values := make([]int32, len(raw)/4)
	for i := range values {
		values[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return values
}

// digestOf is that of all tensors and what stands beside them.
func digestOf(t map[string][]byte, about string) string {
	hash := sha256.New()
	fmt.Fprintln(hash, about)
	for _, name := range cachedTensors {
		fmt.Fprintln(hash, name, len(t[name]))
		hash.Write(t[name])
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// writeCached puts a data set into the cache, whole or not at all.
func (d *Dataset) writeCached(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	text, err := json.Marshal(about{d.Stats, d.Format})
	if err != nil {
		return err
	}
	t := d.pack()
	specs := []safetensors.Spec{
		{Name: cachedIDs, DType: "I32", Shape: []int64{int64(len(t[cachedIDs]) / 4)}},
		{Name: cachedExamples, DType: "I32", Shape: []int64{int64(len(d.Examples)), 2}},
		{Name: cachedLengths, DType: "I32", Shape: []int64{int64(len(d.lengths))}},
		{Name: cachedLearned, DType: "U8", Shape: []int64{int64(len(t[cachedLearned]))}},
	}
	w, err := safetensors.Create(path, specs, map[string]string{cachedAbout: string(text), cachedDigest: digestOf(t, string(text))})
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, name := range cachedTensors {
		if err := w.Write(name, t[name]); err != nil {
			return err
		}
	}
	return w.Commit()
}

// readCached is the data set of a file in the cache, nil where there is none that is whole.
func readCached(path string) *Dataset {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	t, text := map[string][]byte{}, f.Metadata()[cachedAbout]
	for _, name := range cachedTensors {
		info, ok := f.Tensor(name)
		if !ok {
			return nil
		}
		t[name] = make([]byte, info.Bytes)
		if err := f.Read(info, t[name], 0); err != nil {
			return nil
		}
	}
	var a about
	if digestOf(t, text) != f.Metadata()[cachedDigest] || json.Unmarshal([]byte(text), &a) != nil {
		return nil
	}
	d := &Dataset{Stats: a.Stats, Format: a.Format}
	d.unpack(t)
	return d
}

// CacheMaker tells a tokenizer from others by the files of its folder, and joins what else
// decides about tokens.
func CacheMaker(dir string, more ...string) (string, error) {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q\n", more)
	for _, name := range []string{"tokenizer.json", configFile, "special_tokens_map.json", "added_tokens.json"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		fmt.Fprintln(hash, name, len(text))
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
