package conformance

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"trainer/core/abi"
	"trainer/core/plugin"
)

func hygieneBehaviours() []Behaviour {
	return []Behaviour{
		// First in its process: what happens once, when a device is first opened, shows too.
		{Group: "hygiene", Name: "state of the process", Demand: "process.state", Try: (*rig).processState},
		{Group: "hygiene", Name: "exported symbols", Demand: "process.exports", Try: (*rig).exports},
		{Group: "hygiene", Name: "answers to queries", Demand: "op.claim", Try: (*rig).queryAnswers},
		{Group: "hygiene", Name: "logs", Demand: "struct.output", Needs: []string{"log_read"}, Try: (*rig).logs},
	}
}

func (r *rig) textField(name string, field []byte, needed bool) {
	end := bytes.IndexByte(field, 0)
	if end < 0 || end == 0 && needed || !utf8.Valid(field[:end]) {
		r.fail("%s is %q, expected NUL-terminated UTF-8", name, field[:max(0, end)])
	}
}

// exports reads the file; it is not loaded for this.
func (r *rig) exports() {
	in, err := plugin.Inspect(r.path)
	if err != nil {
		r.fail("it cannot be read: %v", err)
	}
	for _, t := range in.Traits {
		if t.Forbidden {
			r.fail("%s", t.Sentence)
		}
	}
	slices.Sort(in.Exports)
	if !slices.Equal(in.Exports, []string{"trainer_backend_manifest", "trainer_backend_query_v1"}) {
		r.fail("it exports %d symbols: %.200s", len(in.Exports), strings.Join(in.Exports, ", "))
	}
}

// processState does everything once, at the thread that opened the device, and looks what
// has changed since before that.
func (r *rig) processState() {
	look := func(when string) {
		var refused *plugin.Refusal
		if err := r.changed(when); errors.As(err, &refused) {
			r.fail("%s", refused.Text)
		}
	}
	look("device_open")
	r.everything(1)
	look("work on a device")
	r.staleHandles()
	look("a call it refuses")
	r.other(func() {})
	look("device_close")
}

func (r *rig) queryAnswers() {
	var questions []abi.OpQuery
	for op := range uint32(0x200) {
		for _, dtype := range []abi.DType{0, abi.F32, abi.BF16, abi.F16} {
			questions = append(questions, abi.OpQuery{StructSize: uint32(sizeOf(abi.OpQuery{})), Op: op, Version: 1, DType: uint32(dtype), Compute: uint32(abi.F32)})
		}
	}
	first, again := r.answers(questions), r.answers(questions)
	for i, a := range first {
		if a.Level > abi.LevelFast || a.Deterministic > 1 {
			r.fail("query_ops answers op 0x%x with level %d, deterministic %d", questions[i].Op, a.Level, a.Deterministic)
		}
		if a != again[i] {
			r.fail("query_ops answers op 0x%x with level %d, then with level %d", questions[i].Op, a.Level, again[i].Level)
		}
	}
	r.ok("query_ops", r.device, nil, uint32(0), nil)
}

func (r *rig) logs() {
	for _, n := range []int{1, 16, 4096} {
		var cursor uint64
		text := bytes.Repeat([]byte{filler}, n+256)
		a := r.ask("log_read", &cursor, text, uint64(n))
		r.among("a log read", []abi.Status{abi.StatusOK, abi.StatusUnsupported}, "log_read", a.Status)
		for i, x := range text[n:] {
			if x != filler {
				r.fail("log_read with room for %d bytes wrote byte %d", n, n+i)
			}
		}
	}
}
