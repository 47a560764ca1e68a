package dump

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// contentsName is the entry that tells what the others are.
const contentsName = "dump.json"

// Header says where a step was recorded.
type Header struct {
	ABI     string `json:"abi"`
	Backend string `json:"backend"`
	Device  string `json:"device"`
	Step    int    `json:"step"`
}

// Event is one thing the host asked of the device: bytes put into a slot, or a list.
type Event struct {
	Slot   uint32 `json:"slot"`
	Offset int64  `json:"offset"`
	Data   []byte `json:"-"` // nil for a list
	List   []byte `json:"-"`
	Params []byte `json:"-"`

	DataFile   string `json:"data,omitempty"`
	ListFile   string `json:"list,omitempty"`
	ParamsFile string `json:"params,omitempty"`
}

// Dump is a recorded step.
type Dump struct {
	Header
	Slots  [][]byte // what each held before the step; zeros where that does not matter
	Events []Event
}

// contents is the table of contents.
type contents struct {
	Header
	Slots  []slot  `json:"slots"`
	Events []Event `json:"events"`
}

type slot struct {
	Bytes int64  `json:"bytes"`
	File  string `json:"file,omitempty"` // absent: zeros
}

// Writer writes a dump as its step happens.
type Writer struct {
	file *os.File
	zip  *zip.Writer
	all  contents
	err  error // the first; what follows it writes nothing
}

// Create begins a file.
func Create(path string, h Header) (*Writer, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &Writer{file: f, zip: zip.NewWriter(f), all: contents{Header: h}}, nil
}

// Slot adds the next slot. fill writes its contents; nil stands for zeros.
func (w *Writer) Slot(bytes int64, fill func(to io.Writer) error) {
	s := slot{Bytes: bytes}
	if fill != nil {
		s.File = fmt.Sprintf("slots/%d", len(w.all.Slots))
		w.entry(s.File, fill)
	}
	w.all.Slots = append(w.all.Slots, s)
}

// Write adds an upload.
func (w *Writer) Write(slot uint32, offset int64, data []byte) {
	e := Event{Slot: slot, Offset: offset, DataFile: fmt.Sprintf("events/%06d.data", len(w.all.Events))}
	w.bytes(e.DataFile, data)
	w.all.Events = append(w.all.Events, e)
}

// List adds a submission.
func (w *Writer) List(list, params []byte) {
	name := fmt.Sprintf("events/%06d", len(w.all.Events))
	e := Event{ListFile: name + ".list", ParamsFile: name + ".params"}
	w.bytes(e.ListFile, list)
	w.bytes(e.ParamsFile, params)
	w.all.Events = append(w.all.Events, e)
}

// Close finishes the file. It returns the first error of all that was written.
func (w *Writer) Close() error {
	w.entry(contentsName, func(to io.Writer) error { return json.NewEncoder(to).Encode(w.all) })
	return errors.Join(w.err, w.zip.Close(), w.file.Close())
}

func (w *Writer) bytes(name string, data []byte) {
	w.entry(name, func(to io.Writer) error { _, err := to.Write(data); return err })
}

func (w *Writer) entry(name string, fill func(to io.Writer) error) {
	if w.err != nil {
		return
	}
	to, err := w.zip.Create(name)
	if err == nil {
		err = fill(to)
	}
	w.err = err
}

// mostBytes bounds what a dump may ask of memory.
const mostBytes = 64 << 30

// Read reads a whole dump. Nothing in it is believed beyond its size.
func Read(path string) (*Dump, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("no recorded step: %w", err)
	}
	defer archive.Close()
	r := reader{archive: archive, left: mostBytes}
	var all contents
	if text, err := r.entry(contentsName, -1); err != nil {
		return nil, err
	} else if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", contentsName, err)
	}
	d := &Dump{Header: all.Header}
	for i, s := range all.Slots {
		if s.Bytes < 0 || s.Bytes > r.left {
			return nil, fmt.Errorf("slot %d: found %d bytes, expected at most %d", i, s.Bytes, r.left)
		}
		var data []byte
		if s.File == "" {
			r.left -= s.Bytes
			data = make([]byte, s.Bytes)
		} else if data, err = r.entry(s.File, s.Bytes); err != nil {
			return nil, err
		}
		d.Slots = append(d.Slots, data)
	}
	for _, e := range all.Events {
		if err := r.event(&e, d.Slots); err != nil {
			return nil, err
		}
		d.Events = append(d.Events, e)
	}
	return d, nil
}

type reader struct {
	archive *zip.ReadCloser
	left    int64
}

// entry reads one entry, of so many bytes unless that is negative.
func (r *reader) entry(name string, bytes int64) ([]byte, error) {
	f, err := r.archive.Open(name)
	if err != nil {
		return nil, fmt.Errorf("a recorded step lacks %s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, r.left+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(len(data)) > r.left || bytes >= 0 && int64(len(data)) != bytes {
		return nil, fmt.Errorf("%s: found %d bytes, expected %d", name, len(data), bytes)
	}
	r.left -= int64(len(data))
	return data, nil
}

// event reads what belongs to an event.
func (r *reader) event(e *Event, slots [][]byte) (err error) {
	if e.ListFile != "" {
		if e.List, err = r.entry(e.ListFile, -1); err == nil {
			e.Params, err = r.entry(e.ParamsFile, -1)
		}
		return err
	}
	if e.Data, err = r.entry(e.DataFile, -1); err != nil {
		return err
	}
	if int64(e.Slot) >= int64(len(slots)) || e.Offset < 0 || e.Offset > int64(len(slots[e.Slot]))-int64(len(e.Data)) {
		return fmt.Errorf("%s: found %d bytes at %d of slot %d, which does not have them", e.DataFile, len(e.Data), e.Offset, e.Slot)
	}
	return nil
}
