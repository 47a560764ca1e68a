package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"trainer/core/op"
	"trainer/files/atomicfile"
	"trainer/training"
)

// traceName is the file in a folder of traces.
const traceName = "trace.json"

// traceEvent is one event of the Trace Event Format, which chrome://tracing and
// ui.perfetto.dev show. Times are microseconds.
type traceEvent struct {
	Name  string         `json:"name"`
	Kind  string         `json:"ph"` // X has a duration, M names something
	Start float64        `json:"ts"`
	Took  float64        `json:"dur,omitempty"`
	PID   int            `json:"pid"`
	TID   int            `json:"tid"`
	Args  map[string]any `json:"args,omitempty"`
}

// The rows of a trace.
const (
	tracePhases = iota + 1
	traceOps
)

// writeTrace lays the nodes of a step one behind the other and writes them to a file, or to
// one in a folder, and returns its path.
func writeTrace(path string, b *BenchReport, costs []training.Cost) (string, error) {
	if !strings.HasSuffix(path, ".json") {
		path = filepath.Join(path, traceName)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return "", atomicfile.Error(filepath.Dir(path), err)
	}
	text, err := json.Marshal(map[string]any{"displayTimeUnit": "ms", "traceEvents": traceEvents(b, costs)})
	if err != nil {
		return "", fmt.Errorf("write the trace: %w", err)
	}
	return path, atomicfile.WriteFile(path, text)
}

func traceEvents(b *BenchReport, costs []training.Cost) []traceEvent {
	named := func(what string, row int, name string) traceEvent {
		return traceEvent{Name: what, Kind: "M", PID: 1, TID: row, Args: map[string]any{"name": name}}
	}
	events := []traceEvent{named("process_name", 0, fmt.Sprintf("%s %s on %s", b.Model, b.TrainType, b.Device)), named("thread_name", tracePhases, "phase"),
		named("thread_name", traceOps, map[bool]string{true: "ops, one after the other", false: "ops, each run alone"}[b.Within])}
	at, phase := 0.0, -1 // where the next node begins; the event of the phase it is in
	for _, c := range costs {
		took := 1e6 * c.Seconds
		if phase < 0 || events[phase].Name != c.Phase {
			phase = len(events)
			events = append(events, traceEvent{Name: c.Phase, Kind: "X", Start: at, PID: 1, TID: tracePhases})
		}
		events[phase].Took += took
		args := map[string]any{"shapes": shapesOf(c.Node), "bytes": c.Bytes}
		if c.FLOPs > 0 {
			args["flops"] = c.FLOPs
		}
		if c.Node.Block >= 0 {
			args["layer"] = c.Node.Block
		}
		events = append(events, traceEvent{Name: c.Family, Kind: "X", Start: at, Took: took, PID: 1, TID: traceOps, Args: args})
		at += took
	}
	return events
}

// shapesOf tells what a node reads first and what it writes first.
func shapesOf(n *op.Node) string {
	first := func(vs []*op.Value) string {
		for _, v := range vs {
			if v != nil {
				dims := make([]string, len(v.Shape))
				for i, d := range v.Shape {
					dims[i] = fmt.Sprint(d)
				}
				return strings.Join(dims, "×") + " " + v.Type().String()
			}
		}
		return "-"
	}
	return first(n.In) + " → " + first(n.Out)
}
