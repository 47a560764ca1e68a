package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"trainer/fault"
)

// The file formats. A .json file holds one array of objects, a .jsonl file one
// object a line; neither is ever taken for the other.
const (
	JSON  = "json"
	JSONL = "jsonl"
)

// ReadRecords yields the first `limit` records of a file (all, if limit is 0 or
// less) in file order and reads no further; an error of yield ends it. format is
// JSON, JSONL, or "" for what the file name says. Every other error is a
// *fault.Error with the file and, inside it, the line.
func ReadRecords(path, format string, limit int, yield func(Record) error) error {
	f, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if format == "" {
		format = strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), ".")
	}
	if format != JSON && format != JSONL {
		return &fault.Error{Kind: fault.Files, Where: path, Found: fmt.Sprintf("the format %q", format),
			Want: "json (an array of objects) or jsonl (an object a line)", Remedy: "rename or convert the file"}
	}
	return readRecords(f, path, format, limit, yield)
}

func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if err != nil {
		var inner *os.PathError
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, &fault.Error{Kind: fault.Files, Where: path, Err: err, Remedy: "name a data file that can be read"}
	}
	return f, nil
}

// readRecords is ReadRecords on an open file.
func readRecords(in io.Reader, file, format string, limit int, yield func(Record) error) error {
	r := newReader(in, file)
	next := r.nextInArray
	if format == JSONL {
		next = r.nextLine
	}
	if err := r.skipMark(); err != nil {
		return err
	}
	for row := 0; limit <= 0 || row < limit; row++ {
		text, at, err := next()
		if err != nil || text == nil {
			return err
		}
		fields, syntax := parseObject(text)
		if syntax != nil {
			return syntax.at(file, at, text)
		}
		if err := yield(Record{File: file, At: at, Row: row, Fields: fields}); err != nil {
			return err
		}
	}
	return nil
}

// reader cuts a file into the texts of its records.
type reader struct {
	in     *bufio.Reader
	file   string
	at     Position // of the byte read last
	next   Position // of the byte to come
	inside bool     // behind the opening bracket of the array
	limit  int      // bytes of a record
}

func newReader(in io.Reader, file string) *reader {
	return &reader{in: bufio.NewReaderSize(in, 1<<16), file: file, next: Position{1, 1}, limit: maxRecordBytes}
}

// skipMark skips a UTF-8 byte order mark and refuses those of UTF-16.
func (r *reader) skipMark() error {
	start, err := r.in.Peek(3)
	if err != nil && err != io.EOF {
		return r.readFault(err)
	}
	switch {
	case bytes.HasPrefix(start, []byte("\xEF\xBB\xBF")):
		_, err = r.in.Discard(3)
		return err
	case bytes.HasPrefix(start, []byte("\xFF\xFE")), bytes.HasPrefix(start, []byte("\xFE\xFF")):
		return &fault.Error{Kind: fault.Files, Where: r.file, Field: "line 1", Found: "a UTF-16 byte order mark",
			Want: "UTF-8", Remedy: "convert the file to UTF-8"}
	}
	return nil
}

// nextLine gives the next line that is not blank, nil at the end.
func (r *reader) nextLine() ([]byte, Position, error) {
	for {
		r.at = r.next
		line, err := r.line()
		if err != nil || len(line) == 0 {
			return nil, r.at, err
		}
		r.next = Position{r.at.Line + 1, 1}
		text := bytes.TrimRight(line, " \t\r\n")
		if len(text) > 0 {
			return text, r.at, nil
		}
	}
}

// line reads up to and with the next newline; it is empty at the end.
func (r *reader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > r.limit {
			return nil, r.tooLong()
		}
		if err == nil || err == io.EOF {
			return line, nil
		}
		if err != bufio.ErrBufferFull {
			return nil, r.readFault(err)
		}
	}
}

// nextInArray gives the next object of the array the file consists of, nil
// behind the last.
func (r *reader) nextInArray() ([]byte, Position, error) {
	c, err := r.readToken()
	if err != nil {
		return nil, r.at, err
	}
	switch {
	case !r.inside && c != '[':
		return nil, r.at, r.unexpected(c, "an array of objects", "a file with an object a line is named .jsonl")
	case r.inside && c != ',' && c != ']':
		return nil, r.at, r.unexpected(c, "a comma or the end of the array", "correct the file there")
	case c == ']':
		return nil, r.at, r.endOfFile()
	}
	first := !r.inside
	r.inside = true
	if c, err = r.readToken(); err != nil {
		return nil, r.at, err
	}
	switch {
	case c == ']' && first:
		return nil, r.at, r.endOfFile()
	case c != '{':
		return nil, r.at, r.unexpected(c, "an object", "correct the file there")
	}
	at := r.at
	text, err := r.object()
	return text, at, err
}

// object reads on from an opening brace to the one that closes it. Text that
// cannot be JSON is cut short where that shows; parseObject says what is wrong.
func (r *reader) object() ([]byte, error) {
	text, open := []byte{'{'}, []byte{'}'}
	inString, escaped := false, false
	for len(text) < r.limit {
		c, err := r.read()
		if err == io.EOF {
			return text, nil
		} else if err != nil {
			return nil, err
		}
		text = append(text, c)
		switch {
		case inString && c < ' ':
			return text, nil
		case inString:
			inString = escaped || c != '"'
			escaped = !escaped && c == '\\'
		case c == '"':
			inString = true
		case c == '{':
			open = append(open, '}')
		case c == '[':
			open = append(open, ']')
		case c == '}' || c == ']':
			last := len(open) - 1
			if last == 0 || open[last] != c {
				return text, nil
			}
			open = open[:last]
		}
	}
	return nil, r.tooLong()
}

// endOfFile wants nothing but white space up to the end of the file.
func (r *reader) endOfFile() error {
	c, err := r.skipSpace()
	if err == io.EOF {
		return nil
	} else if err != nil {
		return err
	}
	return r.unexpected(c, "the end of the file behind the array", "correct the file there")
}

// readToken is skipSpace where the file may not end.
func (r *reader) readToken() (byte, error) {
	c, err := r.skipSpace()
	if err == io.EOF {
		err = &fault.Error{Kind: fault.Files, Where: r.file, Field: r.at.String(), Found: "the end of the file",
			Want: "an array of objects", Remedy: "complete the file"}
	}
	return c, err
}

// skipSpace reads up to and with the first byte that is no white space.
func (r *reader) skipSpace() (byte, error) {
	for {
		c, err := r.read()
		if err != nil || (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
			return c, err
		}
	}
}

// read takes the next byte; at the end its error is io.EOF, else a *fault.Error.
func (r *reader) read() (byte, error) {
	r.at = r.next
	c, err := r.in.ReadByte()
	switch {
	case err == io.EOF:
	case err != nil:
		err = r.readFault(err)
	case c == '\n':
		r.next = Position{r.at.Line + 1, 1}
	default:
		r.next.Column++
	}
	return c, err
}

func (r *reader) unexpected(c byte, want, remedy string) error {
	found := string(rune(c))
	if c <= ' ' || c > '~' {
		found = fmt.Sprintf("the byte 0x%02X", c)
	}
	return &fault.Error{Kind: fault.Files, Where: r.file, Field: r.at.String(), Found: found, Want: want, Remedy: remedy}
}

func (r *reader) tooLong() error {
	return &fault.Error{Kind: fault.Files, Where: r.file, Field: r.at.String(), Found: "a longer record",
		Want: fmt.Sprintf("at most %d bytes", r.limit), Remedy: "split the record"}
}

func (r *reader) readFault(err error) error {
	return &fault.Error{Kind: fault.Files, Where: r.file, Field: r.at.String(), Err: err}
}
