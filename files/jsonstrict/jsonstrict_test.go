package jsonstrict

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

func TestRefuses(t *testing.T) {
	cases := []struct{ text, message string }{
		{"", "line 1, column 1: the text ends, expected a value"},
		{" \n ", "line 2, column 2: the text ends"},
		{"{\"a\":1,\n \"a\":2}", "line 2, column 2: duplicate key \"a\""},
		{`{"a":1,"\u0061":2}`, "duplicate key"},
		{`{"a":{"b":1,"b":1}}`, "duplicate key \"b\""},
		{`{"a" 1}`, "found '1', expected ':'"},
		{`{"a":}`, "found '}', expected a value"},
		{`{"a":1,}`, "expected another item"},
		{`[1,]`, "expected another item"},
		{`[1 2]`, "expected ',' or ']'"},
		{`[1`, "the text ends, expected ',' or ']'"},
		{`{a:1}`, "found 'a', expected a string"},
		{`{'a':1}`, "expected a string"},
		{`[1] x`, "found 'x', expected the end"},
		{"[1]\x00", "found '\\x00', expected the end"},
		{"\xef\xbb\xbf[]", "found '\\ufeff', expected a value"},
		{"\"\xff\"", "line 1, column 2: byte 0xff is not UTF-8"},
		{"\"\xed\xa0\x80\"", "byte 0xed is not UTF-8"},
		{"\xff", "byte 0xff is not UTF-8, expected a value"},
		{`"\ud800"`, "surrogate without its other half"},
		{`"\ud800\u0041"`, "surrogate without its other half"},
		{`"\udc00\ud800"`, "surrogate"},
		{`"\u12g4"`, "four hexadecimal digits"},
		{`"\u12`, "four hexadecimal digits"},
		{`"\x41"`, `unknown escape \x`},
		{`"\`, "expected an escape"},
		{`"a`, "expected the end of the string"},
		{"\"a\nb\"", "control character 0x0a"},
		{"\"a\tb\"", "control character 0x09"},
		{"01", "expected the end"},
		{"+1", "expected a value"},
		{"-", "expected a number"},
		{"1.", "a digit after '.'"},
		{".5", "expected a value"},
		{"1e", "a digit of the exponent"},
		{"1e+", "a digit of the exponent"},
		{"NaN", "expected a value"},
		{"-Infinity", "expected a number"},
		{"nul", "expected null"},
		{"tru", "expected true"},
		{"True", "expected a value"},
		{"/* */1", "expected a value"},
		{strings.Repeat("[", 101) + strings.Repeat("]", 101), "column 101: lists and objects are nested deeper than 100"},
		{strings.Repeat("[", 100_000), "nested deeper"},
		{strings.Repeat(`{"a":`, 100_000), "nested deeper"},
	}
	for _, c := range cases {
		_, err := Parse([]byte(c.text), Limits{})
		var syntax *SyntaxError
		require.ErrorAs(t, err, &syntax, "%.40q", c.text)
		require.Contains(t, err.Error(), c.message, "%.40q", c.text)
		d, err := NewDecoder([]byte(c.text), Limits{})
		require.NoError(t, err)
		require.Error(t, errors.Join(d.Skip(), d.End()), "skipped %.40q", c.text)
	}
}

func TestAcceptsWhatTheStandardLibraryAccepts(t *testing.T) {
	for _, text := range []string{
		"null", " true ", "false", "0", "-0", "-1.5e+3", "1E400", `""`, `"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀"`, "[]", "{}",
		"[1,[2,{\"a\":[]}],null]", "\t{\r\n\"a\" : 1 , \"A\" : 2}\n", `"\u0000"`, "\"\x7f\"",
		strings.Repeat("[", 100) + strings.Repeat("]", 100),
	} {
		v, err := Parse([]byte(text), Limits{})
		require.NoError(t, err, text)
		require.JSONEq(t, strings.ReplaceAll(text, "1E400", "1"), strings.ReplaceAll(string(Marshal(v)), "1E400", "1"))
	}
}

func TestLimits(t *testing.T) {
	_, err := Parse([]byte("[1,2]"), Limits{Bytes: 4})
	require.ErrorContains(t, err, "has 5 bytes, the limit is 4")
	_, err = Parse([]byte("[1,2]"), Limits{Values: 2})
	require.ErrorContains(t, err, "more than 2 values")
	_, err = Parse([]byte("[[1]]"), Limits{Depth: 1})
	require.ErrorContains(t, err, "deeper than 1")
}

func TestManyKeysAreCompared(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		b.WriteString(`"` + strings.Repeat("k", i) + `":0,`)
	}
	_, err := Parse([]byte("{"+b.String()+`"last":0}`), Limits{})
	require.NoError(t, err)
	_, err = Parse([]byte("{"+b.String()+`"kkkkkkkkkk":0}`), Limits{})
	require.ErrorContains(t, err, "duplicate key")
}

func TestIntegers(t *testing.T) {
	for _, text := range []string{"1.0", "1e3", "-0", "9223372036854775808", "18446744073709551616", `"1"`, "null"} {
		d, err := NewDecoder([]byte(text), Limits{})
		require.NoError(t, err)
		_, err = d.Int()
		require.Error(t, err, text)
		v, err := Parse([]byte(text), Limits{})
		require.NoError(t, err)
		_, ok := v.AsInt()
		require.False(t, ok, text)
	}
	v, err := Parse([]byte("-9223372036854775808"), Limits{})
	require.NoError(t, err)
	i, ok := v.AsInt()
	require.True(t, ok)
	require.Equal(t, int64(math.MinInt64), i)
}

func TestFields(t *testing.T) {
	const text = `{"n":12,"x":0.5,"s":"a","b":true,"list":["p","q"],"o":{"n":-1},"nothing":null,"N":1}`
	read := func() *Fields {
		f, err := ParseFields("some.json", []byte(text), Limits{})
		require.NoError(t, err)
		return f
	}
	f := read()
	f.Require("n", "x")
	require.Equal(t, int64(12), f.Int("n", 0, 0, 20))
	require.Equal(t, int64(7), f.Int("nothing", 7, 0, 20))
	require.Equal(t, 0.5, f.Float("x", 0, 0, 1))
	require.Equal(t, "a", f.String("s", ""))
	require.True(t, f.Bool("b", false))
	require.Equal(t, []string{"p", "q"}, f.Strings("list"))
	require.Nil(t, f.Object("absent"))
	require.Equal(t, int64(-1), f.Object("o").Int("n", 0, -1, 1))
	require.NoError(t, f.Err())

	for message, use := range map[string]func(*Fields){
		"some.json: field n: found 12, expected an integer from 0 to 10; correct the file": func(f *Fields) { f.Int("n", 0, 0, 10) },
		"field x: found 0.5, expected an integer":                                          func(f *Fields) { f.Int("x", 0, 0, 10) },
		"field s: found \"a\", expected a number":                                          func(f *Fields) { f.Float("s", 0, 0, 10) },
		"field n: found 12, expected true or false":                                        func(f *Fields) { f.Bool("n", false) },
		"field list: found a list, expected a string":                                      func(f *Fields) { f.String("list", "") },
		"field s: found \"a\", expected a list of strings":                                 func(f *Fields) { f.Strings("s") },
		"field o.n: found -1, expected an integer from 0 to 1":                             func(f *Fields) { f.Object("o").Int("n", 0, 0, 1) },
		"field n: found 12, expected an object":                                            func(f *Fields) { f.Object("n") },
		"field nothing: found nothing, expected a value; add the field":                    func(f *Fields) { f.Require("n", "nothing") },
	} {
		f := read()
		use(f)
		require.ErrorContains(t, f.Err(), message)
		require.Equal(t, int(fault.Files), fault.ExitCode(f.Err()))
	}
	_, err := ParseFields("some.json", []byte("[]"), Limits{})
	require.ErrorContains(t, err, "some.json: found a list, expected an object")
}

func TestMarshalIsWhatPythonWrites(t *testing.T) {
	config, err := os.ReadFile("../../testdata/oracles/models/llama3/config.json")
	require.NoError(t, err)
	v, err := Parse(config, Limits{})
	require.NoError(t, err)
	require.Equal(t, string(config), string(Marshal(v))+"\n")
	require.Equal(t, `"\u00e9\ud83d\ude00\u0000\"\\`+"\x7f"+`"`, string(AppendString(nil, "é😀\x00\"\\\x7f")))
}

func TestFloatTextIsPythonsRepr(t *testing.T) {
	for want, f := range map[string]float64{"0.0": 0, "-0.0": math.Copysign(0, -1), "16.0": 16, "0.1": 0.1, "0.0001": 1e-4, "1e-05": 1e-5,
		"1000000000000000.0": 1e15, "1e+16": 1e16, "1.5e+300": 1.5e300, "123456.789": 123456.789} {
		require.Equal(t, want, FloatText(f))
	}
}

// FuzzParse: what is accepted, the standard library accepts too, and it survives writing.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e-3,"x\u00e9",null,true]}`, `[[[]]]`, `"\ud83d\ude00"`, "{}", "-0", `{"a":1,"a":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Parse(text, Limits{})
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("accepted %q", text)
		}
		again, err := Parse(Marshal(v), Limits{Bytes: 1 << 30})
		if err != nil || string(Marshal(again)) != string(Marshal(v)) {
			t.Fatalf("%q became %q: %v", text, Marshal(v), err)
		}
	})
}
