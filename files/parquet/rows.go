package parquet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// Error is what is wrong with a file.
type Error struct {
	Row int // counted from 1, where it shows; 0 = nowhere in particular
	Err error
}

// Error is "row 3: …".
func (e *Error) Error() string {
	if e.Row == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("row %d: %v", e.Row, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Read yields the rows of a file in order. A list becomes []any, a group map[string]any and
// a number json.Number; texts are valid UTF-8. The map is the caller's. An error of yield
// ends reading and is returned as it is; every other error is an *Error.
func Read(in io.ReaderAt, size int64, yield func(fields map[string]any) error) (err error) {
	row, yielding := 0, false
	// The library trusts much of what it reads; a file that makes it panic is broken.
	defer func() {
		if yielding {
			return
		}
		if thrown := recover(); thrown != nil {
			err = &Error{row, fmt.Errorf("the file is damaged: %.200v", thrown)}
		}
	}()
	f, tree, err := open(in, size)
	if err != nil {
		return &Error{0, err}
	}
	for _, group := range f.RowGroups() {
		if group.NumRows() <= 0 {
			continue
		}
		rows := group.Rows()
		for range group.NumRows() {
			row++
			fields, err := tree.next(rows)
			if err != nil {
				return errors.Join(&Error{row, err}, rows.Close())
			}
			yielding = true
			err = yield(fields)
			yielding = false
			if err != nil {
				_ = rows.Close()
				return err
			}
		}
		if err := rows.Close(); err != nil {
			return &Error{row, err}
		}
	}
	return nil
}

// open checks a file and opens it.
func open(in io.ReaderAt, size int64) (*parquet.File, *columnTree, error) {
	if err := checkFooter(in, size); err != nil {
		return nil, nil, err
	}
	f, err := parquet.OpenFile(in, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, nil, err
	}
	if err := checkPages(in, size, f.Metadata()); err != nil {
		return nil, nil, err
	}
	tree, err := newColumnTree(f.Schema())
	return f, tree, err
}

// columnTree builds the values of rows from their columns.
type columnTree struct {
	root    parquet.Node
	columns int
	row     [1]parquet.Row
}

// Bounds of a table and of one row.
const (
	maxDepth   = 16 // nested groups
	maxColumns = 10_000
	maxRow     = 64 << 20 // bytes
)

func newColumnTree(schema *parquet.Schema) (*columnTree, error) {
	columns := schema.Columns()
	for _, path := range columns {
		if len(path) > maxDepth {
			return nil, fmt.Errorf("the column %.80q nests deeper than %d levels", strings.Join(path, "."), maxDepth)
		}
	}
	if len(columns) > maxColumns {
		return nil, fmt.Errorf("%d columns, more than %d", len(columns), maxColumns)
	}
	return &columnTree{root: schema, columns: len(columns)}, nil
}

// next reads and builds one row.
func (t *columnTree) next(rows parquet.Rows) (map[string]any, error) {
	n, err := rows.ReadRows(t.row[:])
	switch {
	case n == 1:
		return t.fields(t.row[0])
	case err == nil, errors.Is(err, io.EOF):
		return nil, errors.New("the file is damaged: it ends before its last row")
	}
	return nil, err
}

// fields builds one row.
func (t *columnTree) fields(row parquet.Row) (map[string]any, error) {
	size := 0
	for _, v := range row {
		if k := v.Kind(); k == parquet.ByteArray || k == parquet.FixedLenByteArray {
			size += len(v.ByteArray())
		}
	}
	if size += 16 * len(row); size > maxRow {
		return nil, tooLarge("the row has %d bytes", int64(size), maxRow)
	}
	columns := make([][]parquet.Value, t.columns)
	row.Range(func(i int, values []parquet.Value) bool {
		if i < len(columns) {
			columns[i] = values
		}
		return true
	})
	value, err := build(t.root, columns, levels{})
	if err != nil {
		return nil, err
	}
	fields, _ := value.(map[string]any)
	return fields, nil
}

// levels are how often a value's ancestors repeat, and how many of those that may be
// missing are there.
type levels struct{ repetition, definition int }

// build makes the value of a node from the values of the columns under it, which belong to
// one occurrence of its parent (Dremel: Melnik and others 2010).
func build(node parquet.Node, columns [][]parquet.Value, at levels) (any, error) {
	switch {
	case node.Repeated():
		at.repetition++
		at.definition++
		return buildRepeated(node, columns, at)
	case node.Optional():
		at.definition++
		if first, ok := firstValue(columns); !ok || first.DefinitionLevel() < at.definition {
			return nil, nil
		}
	}
	return buildOne(node, columns, at)
}

func firstValue(columns [][]parquet.Value) (parquet.Value, bool) {
	if len(columns) == 0 || len(columns[0]) == 0 {
		return parquet.Value{}, false
	}
	return columns[0][0], true
}

// buildRepeated cuts the columns where an element begins.
func buildRepeated(node parquet.Node, columns [][]parquet.Value, at levels) (any, error) {
	list := []any{}
	first, ok := firstValue(columns)
	if !ok || first.DefinitionLevel() < at.definition {
		return list, nil
	}
	rest := make([][]parquet.Value, len(columns))
	copy(rest, columns)
	for len(rest[0]) > 0 {
		element := make([][]parquet.Value, len(rest))
		for i, values := range rest {
			n := min(1, len(values))
			for n < len(values) && values[n].RepetitionLevel() > at.repetition {
				n++
			}
			element[i], rest[i] = values[:n], values[n:]
		}
		value, err := buildOne(node, element, at)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, nil
}

// buildOne makes the value of a node that is there.
func buildOne(node parquet.Node, columns [][]parquet.Value, at levels) (any, error) {
	if node.Leaf() {
		first, ok := firstValue(columns)
		if !ok {
			return nil, nil
		}
		return leafValue(first)
	}
	object := map[string]any{}
	fields := node.Fields()
	for _, field := range fields {
		n := leaves(field)
		if n > len(columns) {
			return nil, errors.New("a column is missing")
		}
		value, err := build(field, columns[:n], at)
		if err != nil {
			return nil, fmt.Errorf("column %.80q: %w", field.Name(), err)
		}
		object[field.Name()], columns = value, columns[n:]
	}
	return unwrapped(node, fields, object), nil
}

// unwrapped is the list in a group of the logical type LIST, which holds one repeated group
// with one field.
func unwrapped(node parquet.Node, fields []parquet.Field, object map[string]any) any {
	logical := node.Type().LogicalType()
	if logical == nil || len(fields) != 1 {
		return object
	}
	if _, ok := logical.Value.(*format.ListType); !ok {
		return object
	}
	list, _ := object[fields[0].Name()].([]any)
	if inner := fields[0]; !inner.Leaf() && len(inner.Fields()) == 1 {
		name := inner.Fields()[0].Name()
		for i, element := range list {
			if wrapped, ok := element.(map[string]any); ok {
				list[i] = wrapped[name]
			}
		}
	}
	return list
}

// leaves counts the columns under a node.
func leaves(node parquet.Node) int {
	if node.Leaf() {
		return 1
	}
	n := 0
	for _, field := range node.Fields() {
		n += leaves(field)
	}
	return n
}

// leafValue is one value as JSON would have it.
func leafValue(v parquet.Value) (any, error) {
	switch v.Kind() {
	case parquet.Boolean:
		return v.Boolean(), nil
	case parquet.Int32, parquet.Int64, parquet.Float, parquet.Double:
		return json.Number(v.String()), nil
	case parquet.ByteArray, parquet.FixedLenByteArray:
		text := string(v.ByteArray())
		if !utf8.ValidString(text) {
			return nil, errors.New("found bytes that are not UTF-8, expected text")
		}
		return text, nil
	}
	return nil, nil
}
