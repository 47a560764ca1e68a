package data

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"trainer/fault"
)

// readJSON yields the objects of a file that is one array of them.
func readJSON(in io.Reader, file string, yield func(Record) error) error {
	r := newReader(in, file)
	return r.objects(r.nextInArray, yield)
}

// readJSONL yields the objects of a file that has one a line.
func readJSONL(in io.Reader, file string, yield func(Record) error) error {
	r := newReader(in, file)
	return r.objects(r.nextLine, yield)
}

// readText yields the lines that are not blank, each as the field "text".
func readText(in io.Reader, file string, yield func(Record) error) error {
	r := newReader(in, file)
	return r.records(r.nextLine, func(line []byte) (map[string]any, *syntaxError) {
		return map[string]any{"text": string(line)}, checkUTF8(line)
	}, yield)
}

// objects yields the texts that next gives as JSON objects.
func (r *reader) objects(next func() ([]byte, Position, error), yield func(Record) error) error {
	return r.records(next, parseObject, yield)
}

// records yields the texts that next gives, parsed.
func (r *reader) records(next func() ([]byte, Position, error), parse func([]byte) (map[string]any, *syntaxError), yield func(Record) error) error {
	if err := r.skipMark(); err != nil {
		return err
	}
	for {
		text, at, err := next()
		if err != nil || text == nil {
			return err
		}
		fields, syntax := parse(text)
		if syntax != nil {
			return syntax.at(r.file, at, text)
		}
		if err := yield(Record{File: r.file, At: at, Fields: fields}); err != nil {
			return err
		}
	}
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
