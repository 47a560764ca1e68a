package checkpoint

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ugorji/go/codec"

	"trainer/fault"
	"trainer/files/atomicfile"
	"trainer/files/modeldir"
	"trainer/training/metrics"
)

// StateFile holds the State, as msgpack (https://github.com/msgpack/msgpack).
const StateFile = "trainer_state.msgpack"

const (
	stateVersion = 1
	maxState     = 1 << 30
)

// State is where a run stands between two optimizer steps, besides what lies on the device.
// The zero State is the beginning. Random numbers need no state of their own: they are a
// function of the seed, the step and the row, as the order of the rows is of the seed and
// the epoch.
type State struct {
	Version     int             `codec:"version"`
	Step        int             `codec:"step"`      // optimizer steps done; with StepsPerEpoch the position in the data
	Steps       int             `codec:"steps"`     // of the whole run
	PerEpoch    int             `codec:"per_epoch"` // steps that see every row once
	Seed        uint64          `codec:"seed"`
	Skipped     int             `codec:"skipped"`      // steps not taken, in a row up to here, for gradients that were not finite
	SkippedAll  int             `codec:"skipped_all"`  // steps not taken in the whole run
	EvaluatedAt int             `codec:"evaluated_at"` // step of the last evaluation
	Loss        metrics.Number  `codec:"loss"`         // of the last step
	Seconds     float64         `codec:"seconds"`      // of training
	Identity    Identity        `codec:"identity"`
	Log         []metrics.Event `codec:"log"` // what was reported
}

// Identity tells one run's base weights and rows from another's.
type Identity struct {
	Base   string `codec:"base"` // digest of the base weights; empty = random ones
	Rows   string `codec:"rows"` // digest of the rows to train on
	Count  int    `codec:"count"`
	Tokens int    `codec:"tokens"`
}

// handle is msgpack, read strictly.
var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.MaxInitLen = 1 << 10
	h.ErrorIfNoField = true
	return h
}()

// Write writes the state into a folder, durably.
func (s State) Write(dir string) error {
	s.Version = stateVersion
	var data []byte
	if err := codec.NewEncoderBytes(&data, handle).Encode(s); err != nil {
		return fmt.Errorf("encode the state of a run: %w", err)
	}
	return atomicfile.WriteFile(filepath.Join(dir, StateFile), data)
}

// ReadState reads the state of a checkpoint. Errors are *fault.Error of kind Files.
func ReadState(path string) (s State, err error) {
	dir, err := modeldir.Open(path)
	if err != nil {
		return s, err
	}
	defer dir.Close()
	data, err := dir.ReadFile(StateFile, maxState)
	if err != nil {
		return s, err
	}
	d := codec.NewDecoderBytes(data, handle)
	err = d.Decode(&s)
	if err == nil && (d.NumBytesRead() != len(data) || s.Step < 1 || s.PerEpoch < 1) {
		err = errors.New("it holds no state of a run")
	}
	if err == nil && s.Version != stateVersion {
		err = fmt.Errorf("found version %d, expected %d", s.Version, stateVersion)
	}
	if err != nil {
		return s, &fault.Error{Kind: fault.Files, Where: dir.Path(StateFile), Err: err, Remedy: "take another checkpoint"}
	}
	return s, nil
}
