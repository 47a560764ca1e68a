package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// TrainType is what one --train_type stands for: a method, and what its frozen base is stored
// as where --quantization does not say.
type TrainType struct {
	Name         string
	Method       string
	Quantization string
}

// What is trained.
const (
	methodFull     = "full"      // every weight
	methodLoRA     = "lora"      // adapters
	methodDoRA     = "dora"      // adapters with magnitudes
	methodLlamaPro = "llama_pro" // the new blocks of an expanded model
)

// unquantised keeps the base as it is.
const unquantised = "none"

var trainTypes = []TrainType{
	{"full", methodFull, unquantised},
	{"lora", methodLoRA, unquantised}, {"custom_lora", methodLoRA, unquantised},
	{"qlora", methodLoRA, "nf4"}, {"custom_qlora", methodLoRA, "nf4"},
	{"hqq_lora", methodLoRA, "hqq"},
	{"dora", methodDoRA, unquantised}, {"bnb_dora", methodDoRA, "nf4"}, {"hqq_dora", methodDoRA, "hqq"},
	{"llama_pro", methodLlamaPro, unquantised}, {"bnb_llama_pro", methodLlamaPro, "nf4"}, {"hqq_llama_pro", methodLlamaPro, "hqq"},
}

func trainTypeNames() (names []string) {
	for _, t := range trainTypes {
		names = append(names, t.Name)
	}
	return names
}

// Type is the train type; c was validated.
func (c *Config) Type() TrainType {
	return trainTypes[slices.IndexFunc(trainTypes, func(t TrainType) bool { return t.Name == c.TrainType })]
}

// Adapters tells whether adapters on a frozen base are trained.
func (t TrainType) Adapters() bool { return t.Method == methodLoRA || t.Method == methodDoRA }

// Expanded tells whether the new blocks of an expanded model are trained.
func (t TrainType) Expanded() bool { return t.Method == methodLlamaPro }

// DoRA tells whether adapters have magnitudes.
func (t TrainType) DoRA() bool { return t.Method == methodDoRA }

// quantisers are the values of --quantization, with the numbers of bits that each knows.
var quantisers = map[string][]int{unquantised: {usualBits}, "nf4": {usualBits}, "fp4": {usualBits}, "hqq": {8, 4, 3, 2, 1}, "mlx": {2, 3, 4, 5, 6, 8}, "int8": {usualBits, 8}}

const usualBits = 4

// checkQuantisation refuses bits that the base's quantiser does not know.
func (c *Config) checkQuantisation() error {
	name := cmp.Or(c.Quantization, c.Type().Quantization)
	if c.HQQGroupSize%8 != 0 {
		return usage("hqq_group_size", strconv.Itoa(c.HQQGroupSize), "a multiple of 8")
	}
	if bits := quantisers[name]; !slices.Contains(bits, c.NBits) {
		return usage("n_bits", fmt.Sprintf("%d with --quantization %s", c.NBits, name), strings.Trim(fmt.Sprint(bits), "[]")+", or another quantiser: hqq or mlx")
	}
	return nil
}

// KeepStored sets the quantiser to that by which the model's files are quantised already; empty
// where they are not. Another one that was asked for is refused, and so is to train such weights.
// c was resolved. Errors are *fault.Error of kind Usage.
func (c *Config) KeepStored(name string) error {
	if name == "" {
		return nil
	}
	const original = "or name the folder of the original weights"
	if !c.Type().Adapters() {
		e := usage("train_type", c.TrainType+" with a model that is stored quantised ("+name+")", "a train type with adapters")
		e.Remedy = original
		return e
	}
	if c.Quantization != name && !c.quantiserByType {
		e := usage("quantization", c.Quantization+" with a model that is stored as "+name, name)
		e.Remedy = original
		return e
	}
	c.Quantization = name
	return nil
}

// checkTrainType refuses what a train type has no use for.
func (c *Config) checkTrainType() error {
	switch t := c.Type(); {
	case t.Method == methodFull && c.Quantization != "" && c.Quantization != unquantised:
		return usage("quantization", c.Quantization+" with --train_type full", "none: what is trained is not quantised")
	case c.InitAdapter != "" && !t.Adapters():
		return usage("init_adapter", "it with --train_type "+c.TrainType, "a train type with adapters: lora, qlora or another with lora or dora in its name")
	case c.LlamaProPath != "" && !t.Expanded():
		return usage("llama_pro_path", "it with --train_type "+c.TrainType, "a train type with llama_pro in its name")
	}
	if _, err := c.Ranks(); err != nil {
		return err
	}
	_, err := c.Alphas()
	return err
}

// Ranks is rank_pattern: the rank of modules that a pattern matches, as PEFT has it.
func (c *Config) Ranks() (map[string]int, error) {
	return patterns("rank_pattern", c.RankPattern, "a whole number from 1 to 65536", func(text string) (int, bool) {
		r, err := strconv.Atoi(text)
		return r, err == nil && r >= 1 && r <= 1<<16
	})
}

// Alphas is alpha_pattern: the alpha of modules that a pattern matches.
func (c *Config) Alphas() (map[string]float64, error) {
	return patterns("alpha_pattern", c.AlphaPattern, "a number above 0", func(text string) (float64, bool) {
		x, err := parseFloat(text)
		return x, err == nil && x > 0 && x <= 1e30
	})
}

// patterns reads PATTERN=VALUE,PATTERN=VALUE. Patterns are regular expressions.
func patterns[T any](name, text, want string, parse func(string) (T, bool)) (map[string]T, error) {
	values := map[string]T{}
	for _, pair := range strings.Split(text, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		pattern, value, ok := cutLast(pair, "=")
		if _, err := regexp.Compile(pattern); err != nil || !ok || pattern == "" {
			return nil, usage(name, fmt.Sprintf("%.80q", pair), "MODULE=VALUE, as q_proj=8, where MODULE is a name or a regular expression")
		}
		x, ok := parse(strings.TrimSpace(value))
		if !ok {
			return nil, usage(name, fmt.Sprintf("%.80q", pair), want+" behind =")
		}
		values[strings.TrimSpace(pattern)] = x
	}
	return values, nil
}

// cutLast cuts a text where sep stands last.
func cutLast(text, sep string) (before, after string, ok bool) {
	at := strings.LastIndex(text, sep)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(sep):], true
}
