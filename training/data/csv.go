package data

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"trainer/fault"
)

// readCSV yields the rows of an RFC 4180 file behind the row of column names; every value
// is a string.
func readCSV(in io.Reader, file string, yield func(Record) error) error {
	start := newReader(in, file)
	if err := start.skipMark(); err != nil {
		return err
	}
	limited := &rowLimit{in: start.in, limit: start.limit}
	c := csv.NewReader(limited)
	c.ReuseRecord = true
	var names []string
	last := 0 // line of the row before
	for {
		limited.left = limited.limit
		values, err := c.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return csvFault(file, last, err)
		}
		line, column := c.FieldPos(0)
		at := Position{line, column}
		last = line
		if names == nil {
			if names, err = columnNames(values, file, at); err != nil {
				return err
			}
			continue
		}
		fields := make(map[string]any, len(names))
		for i, value := range values {
			if !utf8.ValidString(value) {
				return &fault.Error{Kind: fault.Files, Where: file, Field: fmt.Sprintf("%s: column %q", at, names[i]),
					Found: "text that is not UTF-8", Want: "UTF-8", Remedy: "convert the file to UTF-8"}
			}
			fields[names[i]] = value
		}
		if err := yield(Record{File: file, At: at, Fields: fields}); err != nil {
			return err
		}
	}
}

// maxColumns bounds the columns of a table.
const maxColumns = 10_000

func columnNames(values []string, file string, at Position) ([]string, error) {
	seen := map[string]bool{}
	var names []string
	for _, v := range values {
		name := strings.Clone(strings.TrimSpace(v))
		if seen[name] || !utf8.ValidString(name) || len(names) == maxColumns {
			return nil, &fault.Error{Kind: fault.Files, Where: file, Field: at.String(), Found: fmt.Sprintf("the column name %.40q", name),
				Want: "at most 10000 different names, in UTF-8", Remedy: "correct the first row"}
		}
		seen[name] = true
		names = append(names, name)
	}
	return names, nil
}

// csvFault says what is wrong with the row behind the one of a line.
func csvFault(file string, line int, err error) error {
	var parse *csv.ParseError
	if !errors.As(err, &parse) {
		var ours *fault.Error
		if errors.As(err, &ours) {
			ours.Where, ours.Field = file, fmt.Sprintf("the row behind line %d", line)
			return ours
		}
		return &fault.Error{Kind: fault.Files, Where: file, Err: err}
	}
	e := &fault.Error{Kind: fault.Files, Where: file, Field: fmt.Sprintf("line %d", parse.StartLine), Err: parse.Err, Remedy: "correct the row there"}
	if errors.Is(parse.Err, csv.ErrFieldCount) {
		e.Err, e.Want = nil, "as many values as the first row has names"
		e.Found = "another number of values"
	}
	return e
}

// rowLimit is a reader that fails when more than limit bytes, and what was read ahead, are
// taken for one row.
type rowLimit struct {
	in          io.Reader
	limit, left int
}

func (r *rowLimit) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, &fault.Error{Kind: fault.Files, Found: "a longer row", Want: fmt.Sprintf("at most %d bytes", r.limit), Remedy: "split the row, or close its quotes"}
	}
	n, err := r.in.Read(p)
	r.left -= n
	return n, err
}
