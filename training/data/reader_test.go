package data

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// write puts text into a file of the test's own.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// read gives all records of text.
func read(text, format string) ([]Record, error) {
	var records []Record
	err := textReaders[format](strings.NewReader(text), "f", func(r Record) error {
		r.Row = len(records)
		records = append(records, r)
		return nil
	})
	return records, err
}

func TestReadsBothFormats(t *testing.T) {
	const mark = "\uFEFF"
	for text, format := range map[string]string{
		`[{"a":"1"},{"a":"2"}]`:                                       JSON,
		"[\n{\n\"a\": \"1\"\n},\n{\"a\":\"2\"}\n]\n":                  JSON,
		mark + "\r\n [\t{\"a\":\"1\"} , {\"a\":\"2\"}\r\n]  ":         JSON,
		"{\"a\":\"1\"}\n{\"a\":\"2\"}\n":                              JSONL,
		"{\"a\":\"1\"}\n{\"a\":\"2\"}":                                JSONL,
		mark + "\r\n{\"a\":\"1\"} \r\n \t\n\n  {\"a\":\"2\"}\r\n\r\n": JSONL,
	} {
		records, err := read(text, format)
		require.NoError(t, err, "%q", text)
		require.Len(t, records, 2, "%q", text)
		for row, r := range records {
			assert.Equal(t, row, r.Row)
			assert.Equal(t, fmt.Sprint(row+1), r.Fields["a"])
		}
	}
	for text, format := range map[string]string{"[]": JSON, " [ ] \n": JSON, "": JSONL, " \n\n": JSONL} {
		records, err := read(text, format)
		assert.NoError(t, err, "%q", text)
		assert.Empty(t, records)
	}
}

func TestPositions(t *testing.T) {
	records, err := read("\n[ {},\n  {\"a\":\n1}\n, {}]", JSON)
	require.NoError(t, err)
	require.Len(t, records, 3)
	assert.Equal(t, []Position{{2, 3}, {3, 3}, {5, 3}}, []Position{records[0].At, records[1].At, records[2].At})
}

// TestRefused holds one sentence for each way a file can be broken.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ format, text, want string }{
		{JSON, ``, `f: line 1, column 1: found the end of the file, expected an array of objects; complete the file`},
		{JSON, `{"a":1}`, `f: line 1, column 1: found {, expected an array of objects; a file with an object a line is named .jsonl`},
		{JSON, "{\"a\":1}\n{\"a\":2}", `f: line 1, column 1: found {, expected an array of objects; a file with an object a line is named .jsonl`},
		{JSON, `[1]`, `f: line 1, column 2: found 1, expected an object; correct the file there`},
		{JSON, `[{},]`, `f: line 1, column 5: found ], expected an object; correct the file there`},
		{JSON, `[,{}]`, `f: line 1, column 2: found ,, expected an object; correct the file there`},
		{JSON, "[{}\n{}]", `f: line 2, column 1: found {, expected a comma or the end of the array; correct the file there`},
		{JSON, `[{}`, `f: line 1, column 4: found the end of the file, expected an array of objects; complete the file`},
		{JSON, "[{}]\n\x00", `f: line 2, column 1: found the byte 0x00, expected the end of the file behind the array; correct the file there`},
		{JSON, "[{\"a\":1},\n{\"a\":2\n\"b\":3}]", `f: line 3, column 1: found broken JSON: invalid character '"' after object key:value pair; correct the file there`},
		{JSON, "[{\"a\":\"x\n\"}]", `f: line 1, column 9: found broken JSON: invalid character '\n' in string literal; correct the file there`},
		{JSON, "[{\"a\":[1}]", `f: line 1, column 9: found broken JSON: invalid character '}' after array element; correct the file there`},
		{JSON, "[{\"a\":\"x", `f: line 1, column 9: found the end, expected the rest of the JSON object; correct the file there`},
		{JSON, "\xFF\xFE[\x00]\x00", `f: line 1: found a UTF-16 byte order mark, expected UTF-8; convert the file to UTF-8`},
		{JSONL, "[{}]", `f: line 1, column 1: found an array, expected an object; correct the file there`},
		{JSONL, "{}\n{\"a\":\"\xC0\xAF\"}", `f: line 2, column 7: found the byte 0xC0, expected UTF-8; correct the file there`},
		{JSONL, "{\"a\":\"\x00\"}", `f: line 1, column 7: found broken JSON: invalid character '\x00' in string literal; correct the file there`},
		{JSONL, "{}\n\x00\x00", `f: line 2, column 1: found broken JSON: invalid character '\x00' looking for beginning of value; correct the file there`},
		{JSONL, `{"a":1,"b":{"a":1,"a":2}}`, `f: line 1, column 22: found the key "a" a second time, expected every key once; correct the file there`},
		{JSONL, `{"a":1,"\u0061":2}`, `f: line 1, column 16: found the key "a" a second time, expected every key once; correct the file there`},
		{JSONL, `{"a":"\ud83d\ude42 \ude42"}`, `f: line 1, column 20: found \ude42, expected a whole surrogate pair; correct the file there`},
		{JSONL, `{"a":"\ud83dx"}`, `f: line 1, column 7: found \ud83d, expected a whole surrogate pair; correct the file there`},
		{JSONL, "{}\n\n{\"a\":1", `f: line 3, column 7: found the end, expected the rest of the JSON object; correct the file there`},
		{JSONL, `{} {}`, `f: line 1, column 4: found broken JSON: invalid character '{' after top-level value; correct the file there`},
		{JSONL, `{"a":NaN}`, `f: line 1, column 6: found broken JSON: invalid character 'N' looking for beginning of value; correct the file there`},
	} {
		_, err := read(c.text, c.format)
		assert.EqualError(t, err, c.want, "%q", c.text)
		assert.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
}

func TestAcceptedOddities(t *testing.T) {
	for _, text := range []string{
		`{"a":"\u0000 \ud83d\ude42 \\ud83d \"\\"}`, `{"a":1e9999,"":null,"b":{"a":[[],{}]}}`, `{"a":"` + "\uFFFD\u2028" + `"}`,
	} {
		for format, file := range map[string]string{JSONL: text, JSON: "[" + text + "]"} {
			records, err := read(file, format)
			require.NoError(t, err, file)
			require.Len(t, records, 1)
		}
	}
}

func TestDepth(t *testing.T) {
	nested := func(levels int) string {
		return `{"a":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + `}`
	}
	for format, frame := range map[string]string{JSONL: "%s", JSON: "[%s]"} {
		_, err := read(fmt.Sprintf(frame, nested(100)), format)
		assert.NoError(t, err)
		for _, levels := range []int{101, 100_000} {
			start := time.Now()
			_, err = read(fmt.Sprintf(frame, nested(levels)), format)
			assert.ErrorContains(t, err, "expected at most 100 nested levels")
			assert.Less(t, time.Since(start), time.Second)
		}
	}
}

// endless gives a string that never ends.
type endless struct{ given int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.given += len(p)
	return len(p), nil
}

func TestLineTooLong(t *testing.T) {
	in := &endless{}
	err := readJSONL(io.MultiReader(strings.NewReader("{}\n{\"a\":\""), in), "f", func(Record) error { return nil })
	assert.EqualError(t, err, "f: line 2, column 1: found a longer record, expected at most 67108864 bytes; split the record")
	assert.Less(t, in.given, maxRecordBytes+1<<20)
}

func TestObjectTooLong(t *testing.T) {
	in := &endless{}
	r := newReader(io.MultiReader(strings.NewReader("[\n{\"a\":\""), in), "f")
	r.limit = 1000
	_, _, err := r.nextInArray()
	assert.EqualError(t, err, "f: line 2, column 1000: found a longer record, expected at most 1000 bytes; split the record")
	assert.Less(t, in.given, 1<<17)
}

// TestBrokenLineIsNamed breaks each of many records in turn.
func TestBrokenLineIsNamed(t *testing.T) {
	const n = 300
	for broken := range n {
		lines := make([]string, n)
		for i := range lines {
			lines[i] = `{"a":"b"}`
		}
		lines[broken] = `{"a":"b}`
		for format, text := range map[string]string{
			JSONL: strings.Join(lines, "\r\n"), JSON: "[" + strings.Join(lines, ",\n") + "]",
		} {
			_, err := read(text, format)
			require.ErrorContains(t, err, fmt.Sprintf("f: line %d,", broken+1))
		}
	}
}

func TestReadsNoFurtherThanAsked(t *testing.T) {
	for name, text := range map[string]string{"a.json": `[{"text":1},{"text":2},{broken`, "a.jsonl": "{\"text\":1}\n{\"text\":2}\n{broken"} {
		n := 0
		count := func(Record, *format) error { n++; return nil }
		require.NoError(t, readRecords(write(t, name, text), Options{Samples: 2}, count))
		assert.Equal(t, 2, n)
		require.Error(t, readRecords(write(t, name, text), Options{Samples: 3}, count))
	}
}

func TestYieldEndsReading(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	err := readJSONL(strings.NewReader("{}\n{}\n{}"), "f", func(Record) error { n++; return stop })
	assert.Equal(t, stop, err)
	assert.Equal(t, 1, n)
}

func FuzzReadRecords(f *testing.F) {
	for _, text := range []string{
		`[{"instruction":"a","input":"","output":"b"}]`, "{\"instruction\":\"a\",\"output\":\"b\"}\n{}", "\uFEFF[\n]", `[{"a":[1}]`,
		`[{"a":"\ud83d\ude42"},{"a":"\ud83d"}]`, `{"a":1,"a":2}`, "[{\"a\":\"\\", "\xFF\xFE", "{\"a\":\"\xC0\"}", `[{}] x`, strings.Repeat(`{"a":[`, 60),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, format := range []string{JSON, JSONL} {
			err := textReaders[format](bytes.NewReader(text), "f", func(r Record) error {
				if r.At.Line < 1 || r.At.Line > 1+bytes.Count(text, []byte{'\n'}) {
					t.Fatalf("record at %v", r.At)
				}
				_, _, err := Alpaca(r)
				return err
			})
			if err != nil && fault.ExitCode(err) != int(fault.Files) {
				t.Fatalf("%s: %v", format, err)
			}
		}
	})
}
