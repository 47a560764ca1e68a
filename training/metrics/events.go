package metrics

import (
	"encoding/json"
	"math"
	"time"

	"trainer/core/telemetry"
)

// Number is a measured value. In JSON it is null where it is not finite.
type Number float64

// MarshalJSON writes a finite number as it is, everything else as null.
func (n Number) MarshalJSON() ([]byte, error) {
	f := float64(n)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(f)
}

// UnmarshalJSON reads null as NaN.
func (n *Number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

// Header begins every line. Event is the Writer's to set, and Time where it is zero.
type Header struct {
	Event string    `json:"event"` // start, step, eval or end
	Time  time.Time `json:"time"`  // UTC, RFC 3339
	Rank  int       `json:"rank"`
}

// Start says what runs.
type Start struct {
	Header
	Backend             string   `json:"backend"`
	Device              string   `json:"device"`
	Model               string   `json:"model"`
	Parameters          int64    `json:"parameters"`
	TrainableParameters int64    `json:"trainable_parameters"`
	NativeOps           []string `json:"native_ops"`   // ops the backend computes itself
	ComposedOps         []string `json:"composed_ops"` // ops put together from others
}

// Step is one optimizer step.
type Step struct {
	Header
	Step            int    `json:"step"`              // counted from 1 over the whole run
	Epoch           Number `json:"epoch"`             // passes over the data after this step
	Loss            Number `json:"loss"`              // mean over the labelled tokens of the step
	LearningRate    Number `json:"learning_rate"`     // used in this step
	GradNorm        Number `json:"grad_norm"`         // L2, before clipping
	Tokens          int    `json:"tokens"`            // without padding
	PaddedTokens    int    `json:"padded_tokens"`     // with it
	LabelledTokens  int    `json:"labelled_tokens"`   // those with a label
	Seconds         Number `json:"seconds"`           // wall time of the step
	TokensPerSecond Number `json:"tokens_per_second"` // Tokens / Seconds
	MemoryBytes     int64  `json:"memory_bytes"`      // obtained from the backend now
	// Telemetry is what the device measures of itself behind the step, where it is asked for.
	Telemetry *telemetry.Reading `json:"telemetry,omitempty"`
	// Steps so far whose gradient was not finite, which changed nothing, and the factor on
	// the loss of the next step where losses are scaled.
	SkippedSteps int    `json:"skipped_steps,omitempty"`
	LossScale    Number `json:"loss_scale,omitempty"`
}

// Eval is one evaluation.
type Eval struct {
	Header
	Step           int    `json:"step"` // optimizer steps done before it
	Loss           Number `json:"loss"` // mean over all labelled tokens
	LabelledTokens int    `json:"labelled_tokens"`
	Seconds        Number `json:"seconds"`
}

// Event is a line between the first and the last; one field is set.
type Event struct {
	Step *Step `codec:"step,omitempty"`
	Eval *Eval `codec:"eval,omitempty"`
}

// Now is the time of an event.
func Now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// End closes a run that did not break.
type End struct {
	Header
	Finished           bool   `json:"finished"` // every step was done; else the run was interrupted
	Steps              int    `json:"steps"`
	SkippedSteps       int    `json:"skipped_steps,omitempty"` // those of Steps that changed nothing
	Loss               Number `json:"loss"`                    // of the last step
	Seconds            Number `json:"seconds"`                 // wall time of the training, loading left out
	TokensPerSecond    Number `json:"tokens_per_second"`
	MemoryPeakBytes    int64  `json:"memory_peak_bytes"`
	MemoryPlannedBytes int64  `json:"memory_planned_bytes"`
}
