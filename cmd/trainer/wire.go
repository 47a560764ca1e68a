package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ugorji/go/codec"

	"trainer/training/metrics"
)

// maxFrame bounds a message in bytes.
const maxFrame = 1 << 20

// command is a message from launcher to worker; one field is set.
type command struct {
	Job  *Job `codec:"job,omitempty"`
	Stop bool `codec:"stop,omitempty"` // finish the step under way, save, end
}

// event is a message from worker to launcher; one field is set.
type event struct {
	Log        string        `codec:"log,omitempty"`
	Plan       *PlanReport   `codec:"plan,omitempty"`
	Start      *Start        `codec:"start,omitempty"`
	Step       *metrics.Step `codec:"step,omitempty"`
	Eval       *metrics.Eval `codec:"eval,omitempty"`
	Answer     *Answer       `codec:"answer,omitempty"`
	Saved      string        `codec:"saved,omitempty"`
	Checkpoint string        `codec:"checkpoint,omitempty"`
	Final      *final        `codec:"final,omitempty"`
}

// final is the last message of a worker: how its job ended.
type final struct {
	Result   Result `codec:"result"`
	Kind     int    `codec:"kind"`     // exit code of the error; 0 = done
	Sentence string `codec:"sentence"` // the error
	Stack    string `codec:"stack"`    // of a panic
}

// handle is msgpack (https://github.com/msgpack/msgpack) as both sides speak it.
var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.MaxInitLen = 1 << 10
	h.ErrorIfNoField = true
	return h
}()

// frames writes messages, each behind its length as four bytes, least significant first.
// Any number of goroutines may use it.
type frames struct {
	mu  sync.Mutex
	out io.Writer
}

// send writes one message whole.
func (f *frames) send(message any) error {
	frame := make([]byte, 4, 512)
	var body []byte
	if err := codec.NewEncoderBytes(&body, handle).Encode(message); err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	if len(body) > maxFrame {
		return fmt.Errorf("a message of %d bytes, expected at most %d", len(body), maxFrame)
	}
	binary.LittleEndian.PutUint32(frame, uint32(len(body)))
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.out.Write(append(frame, body...))
	return err
}

// receive reads one message. At the end of the stream the error is io.EOF.
func receive(in io.Reader, message any) error {
	var length [4]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the stream ends within a message")
		}
		return err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n > maxFrame {
		return fmt.Errorf("a message of %d bytes, expected at most %d", n, maxFrame)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(in, body); err != nil {
		return errors.New("the stream ends within a message")
	}
	return decode(body, message)
}

// decode reads a message of its own length exactly.
func decode(body []byte, message any) error {
	d := codec.NewDecoderBytes(body, handle)
	if err := d.Decode(message); err != nil {
		return fmt.Errorf("decode a message: %w", err)
	}
	if d.NumBytesRead() != len(body) {
		return errors.New("bytes behind a message")
	}
	return nil
}
