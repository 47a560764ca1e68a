package session

import (
	"fmt"
	"io"

	"trainer/core/abi"
	"trainer/core/dump"
	"trainer/core/program"
)

// Record keeps all that is asked of the device from now on, up to EndRecord, in a file, with
// what its states hold now.
func (s *Session) Record(path string, step int) error {
	h := dump.Header{ABI: fmt.Sprintf("%d.%d", abi.ABIMajor, abi.ABIMinor), Backend: s.device.Backend(), Device: s.device.Info().Name, Step: step}
	w, err := dump.Create(path, h)
	if err != nil {
		return err
	}
	for i, bytes := range s.slots {
		var fill func(io.Writer) error // arena, inputs and outputs are written before they are read
		if i >= int(slotState) {
			fill = func(to io.Writer) error { return s.readSlot(uint32(i), bytes, to) }
		}
		w.Slot(max(bytes, s.align), fill)
	}
	s.recorder = w
	return nil
}

// EndRecord finishes the file.
func (s *Session) EndRecord() error {
	w := s.recorder
	s.recorder = nil
	return w.Close()
}

// readSlot copies a slot out, through staging memory.
func (s *Session) readSlot(slot uint32, bytes int64, to io.Writer) error {
	for from := int64(0); from < max(bytes, s.align); from += loaderBytes {
		n := min(loaderBytes, max(bytes, s.align)-from)
		data, err := s.readPiece(program.Address{Slot: slot, Offset: from}, n)
		if err != nil {
			return err
		}
		if _, err := to.Write(data); err != nil {
			return err
		}
	}
	return nil
}

// readPiece copies at most loaderBytes into staging memory, where they stay until the next
// transfer.
func (s *Session) readPiece(at program.Address, n int64) ([]byte, error) {
	staging := s.loaders[0].buffer
	if err := s.Sync(); err != nil {
		return nil, err
	}
	if err := s.transfer(staging, at, program.Address{Slot: uint32(len(s.slots))}, n); err != nil {
		return nil, err
	}
	return staging.Bytes()[:n], s.Sync()
}
