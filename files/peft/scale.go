package peft

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"

	"trainer/fault"
)

// RankOf is the rank a module's adapter should have: that of the first pattern which
// matches its name or an ending of it, else R. Patterns are tried in the order of their
// text, which is the order PEFT writes them in. The error is a *fault.Error of kind Files
// where a pattern cannot be read.
func (c Config) RankOf(module string) (int, error) { return lookup(c.RankPattern, c.R, module) }

// Scale is the factor on B·A of a module: alpha/r, or alpha/sqrt(r) with UseRSLoRA
// (Kalajdzievski 2023), with the module's own alpha and rank. The error is as RankOf's.
func (c Config) Scale(module string) (float64, error) {
	r, err := c.RankOf(module)
	if err != nil {
		return 0, err
	}
	alpha, err := lookup(c.AlphaPattern, c.Alpha, module)
	if c.UseRSLoRA {
		return alpha / math.Sqrt(float64(r)), err
	}
	return alpha / float64(r), err
}

// lookup is the value of the first pattern that matches a module, else the usual one.
func lookup[T any](patterns map[string]T, usual T, module string) (T, error) {
	for _, pattern := range slices.Sorted(maps.Keys(patterns)) {
		matches, err := regexp.Compile(`^(?:.*\.)?(?:` + pattern + `)$`)
		if err != nil {
			return usual, &fault.Error{Kind: fault.Files, Where: ConfigName, Field: "rank_pattern, alpha_pattern", Found: fmt.Sprintf("%.80q", pattern),
				Want: "names of modules or plain regular expressions", Remedy: "write the names out"}
		}
		if matches.MatchString(module) {
			return patterns[pattern], nil
		}
	}
	return usual, nil
}
