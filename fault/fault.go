package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says whose problem an error is; its value is the program's exit code.
type Kind int

// The documented exit codes. 128+N, ended by signal N, is not a Kind.
const (
	Bug    Kind = 1 // a bug in trainer
	Usage  Kind = 2 // flags or configuration
	Files  Kind = 3 // model or data files
	Memory Kind = 4 // does not fit in memory
	Device Kind = 5 // device or backend
	Peer   Kind = 6 // another rank or the network
	Disk   Kind = 7 // disk: what was saved before stays
)

// Error is one sentence for the person who runs trainer. Where is the file or
// flag; Field the JSON field, tensor or line inside it; the rest complete the
// sentence. Empty parts are left out.
type Error struct {
	Kind   Kind
	Where  string // file, folder or flag
	Field  string // field, tensor or "line 12" inside it
	Found  string // the value found
	Want   string // what was expected
	Remedy string // what to do
	Err    error  // cause, if any
}

// Error renders the sentence: "config.json: field num_hidden_layers: found -1,
// expected an integer from 1 to 4096; correct the file".
func (e *Error) Error() string {
	var b strings.Builder
	for _, part := range []string{e.Where, e.Field} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	var claims []string
	if e.Found != "" {
		claims = append(claims, "found "+e.Found)
	}
	if e.Want != "" {
		claims = append(claims, "expected "+e.Want)
	}
	if e.Err != nil {
		claims = append(claims, e.Err.Error())
	}
	b.WriteString(strings.Join(claims, ", "))
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an Error of a kind from a finished sentence.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// ExitCode is the program's exit code for err: 0 for nil, the Kind of the first
// *Error in the chain, else Bug.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		return int(e.Kind)
	}
	return int(Bug)
}
