package session

import (
	"fmt"

	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
)

// loaderBytes is the size of the staging memory through which states are read and
// written.
const loaderBytes = 4 << 20

// workspaceBinding is the scratch memory of lists.
func (s *Session) workspaceBinding() plugin.Binding {
	if s.scratch == nil {
		return plugin.Binding{}
	}
	return plugin.Binding{Buffer: s.scratch, Bytes: uint64(s.workspace)}
}

// Write copies little-endian bytes into a root from byte offset on: a state, or with p a
// transient of that program, which stays until another program runs.
func (s *Session) Write(p *Program, v *op.Value, offset int64, data []byte) error {
	return s.move(p, v, offset, int64(len(data)), func(at program.Address, from, n int64) error {
		copy(s.loader.Bytes(), data[from:from+n])
		if err := s.transfer(s.loader, program.Address{Slot: uint32(len(s.slots))}, at, n); err != nil {
			return err
		}
		return s.Sync()
	})
}

// Read copies bytes of a state out.
func (s *Session) Read(v *op.Value) ([]byte, error) {
	data := make([]byte, program.Bytes(v))
	err := s.move(nil, v, 0, int64(len(data)), func(at program.Address, from, n int64) error {
		if err := s.transfer(s.loader, at, program.Address{Slot: uint32(len(s.slots))}, n); err != nil {
			return err
		}
		if err := s.Sync(); err != nil {
			return err
		}
		copy(data[from:from+n], s.loader.Bytes())
		return nil
	})
	return data, err
}

// move walks a root in pieces of the loader's size.
func (s *Session) move(p *Program, v *op.Value, offset, bytes int64, piece func(at program.Address, from, n int64) error) error {
	if offset+bytes > program.Bytes(v) {
		return fmt.Errorf("session: %d bytes at %d do not fit %s of %d", bytes, offset, v.Name, program.Bytes(v))
	}
	at, ok := s.states[v]
	if !ok && p != nil {
		at = s.address(p)(v)
	} else if !ok {
		return fmt.Errorf("session: %s is not a placed state", v.Name)
	}
	at.Offset += offset
	for from := int64(0); from < bytes; from += loaderBytes {
		n := min(loaderBytes, bytes-from)
		if err := piece(program.Address{Slot: at.Slot, Offset: at.Offset + from}, from, n); err != nil {
			return err
		}
	}
	return nil
}
