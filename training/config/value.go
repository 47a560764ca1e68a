package config

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
)

// setField parses text into a field of Config that is no list. The error says what was
// expected.
func setField(field any, text string) error {
	switch p := field.(type) {
	case *string:
		*p = text
		return nil
	case *bool:
		return parseInto(p, text, parseBool, "true or false")
	case *int:
		return parseInto(p, text, parseInt, "a whole number")
	case *uint64:
		return parseInto(p, text, parseUint, "a whole number of at least 0")
	case *float64:
		return parseInto(p, text, parseFloat, "a number")
	case *Bytes:
		return parseInto(p, text, ParseBytes, "a size like 24GiB or 500MB")
	case **bool:
		return parseOptional(p, text, parseBool, "true or false")
	case **int:
		return parseOptional(p, text, parseInt, "a whole number")
	case **float64:
		return parseOptional(p, text, parseFloat, "a number")
	}
	return fmt.Errorf("a field of type %T cannot be set", field)
}

func parseInto[T any](p *T, text string, parse func(string) (T, error), want string) error {
	v, err := parse(strings.TrimSpace(text))
	if err != nil {
		return errors.New(want)
	}
	*p = v
	return nil
}

// parseOptional reads "auto" and nothing as not given.
func parseOptional[T any](p **T, text string, parse func(string) (T, error), want string) error {
	if text = strings.TrimSpace(text); text == "" || text == "auto" {
		*p = nil
		return nil
	}
	v, err := parse(text)
	if err != nil {
		return errors.New(want)
	}
	*p = &v
	return nil
}

func parseInt(text string) (int, error)     { return strconv.Atoi(text) }
func parseUint(text string) (uint64, error) { return strconv.ParseUint(text, 10, 64) }

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, errors.New("not a boolean")
}

// IsBool reports whether text is a way to write true or false.
func IsBool(text string) bool {
	_, err := parseBool(text)
	return err == nil
}

func parseFloat(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		err = errors.New("not finite")
	}
	return v, err
}

// fieldText is what a person would type to set the field.
func fieldText(field any) string {
	switch p := field.(type) {
	case *string:
		return *p
	case *[]string:
		return strings.Join(*p, string(filepath.ListSeparator))
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		return strconv.Itoa(*p)
	case *uint64:
		return strconv.FormatUint(*p, 10)
	case *float64:
		return strconv.FormatFloat(*p, 'g', -1, 64)
	case *Bytes:
		return p.String()
	case **bool:
		return optionalText(*p)
	case **int:
		return optionalText(*p)
	case **float64:
		return optionalText(*p)
	}
	return fmt.Sprint(field)
}

func optionalText[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fieldText(any(p))
}

// Bytes is an amount of memory.
type Bytes uint64

var units = []struct {
	name  string
	bytes float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// ParseBytes reads 24GiB, 1.5 GB, 500MB or a plain number of bytes; letters may be small.
func ParseBytes(text string) (Bytes, error) {
	number, scale := strings.ToLower(strings.TrimSpace(text)), 1.0
	for _, u := range units {
		if cut, ok := strings.CutSuffix(number, strings.ToLower(u.name)); ok {
			number, scale = strings.TrimSpace(cut), u.bytes
			break
		}
	}
	if whole, err := strconv.ParseUint(number, 10, 64); err == nil && scale == 1 && whole < 1<<62 {
		return Bytes(whole), nil
	}
	v, err := parseFloat(number)
	if err != nil || v < 0 || v*scale >= 1<<62 {
		return 0, fmt.Errorf("%q is no amount of memory", text)
	}
	return Bytes(v * scale), nil
}

// String writes the amount exactly: in the largest binary unit that divides it, else in
// bytes.
func (b Bytes) String() string {
	for _, u := range units[:4] {
		if unit := Bytes(u.bytes); b >= unit && b%unit == 0 {
			return fmt.Sprintf("%d%s", b/unit, u.name)
		}
	}
	return strconv.FormatUint(uint64(b), 10)
}
