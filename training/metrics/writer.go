package metrics

import (
	"encoding/json"
	"errors"
	"os"
	"sync"

	"trainer/fault"
)

// Writer writes metrics.jsonl, one object a line, each handed to the operating
// system before the call returns. Any number of threads may use it. Every error
// is a *fault.Error of Kind Disk; what was written before stays.
type Writer struct {
	mu   sync.Mutex
	path string
	file *os.File
}

// NewWriter creates the file, or empties the one that is there. Close it.
func NewWriter(path string) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, diskFault(path, err)
	}
	return &Writer{path: path, file: f}, nil
}

// Start writes a start line.
func (w *Writer) Start(s Start) error { return w.write(&s, &s.Header, "start") }

// Step writes a step line.
func (w *Writer) Step(s Step) error { return w.write(&s, &s.Header, "step") }

// Eval writes an eval line.
func (w *Writer) Eval(e Eval) error { return w.write(&e, &e.Header, "eval") }

// End writes an end line.
func (w *Writer) End(e End) error { return w.write(&e, &e.Header, "end") }

// write completes the header of an event and writes its line.
func (w *Writer) write(event any, h *Header, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.Event = name; h.Time.IsZero() {
		h.Time = Now()
	}
	line, err := json.Marshal(event)
	if err != nil {
		return err
	}
	if _, err := w.file.Write(append(line, '\n')); err != nil {
		return diskFault(w.path, err)
	}
	return nil
}

// Close makes the lines durable and closes the file.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		return diskFault(w.path, err)
	}
	return nil
}

// diskFault is the sentence for a file that could not be written.
func diskFault(path string, err error) error {
	var inner *os.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return &fault.Error{Kind: fault.Disk, Where: path, Err: err, Remedy: "make room, or choose another --output_dir"}
}
