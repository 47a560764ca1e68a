package session

import (
	"fmt"

	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
)

// loaderBytes is the size of each staging buffer through which states are read and
// written; while one is on its way the other is filled.
const (
	loaderBytes = 4 << 20
	loaders     = 2
)

// loader is one of them, and when its last transfer is over.
type loader struct {
	buffer *plugin.Buffer
	busy   uint64
}

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
	return s.fill(p, v, offset, int64(len(data)), func(dst []byte, from int64) error {
		copy(dst, data[from:])
		return nil
	})
}

// Fill is Write of a whole root whose bytes produce writes, piece by piece from byte `from`
// on, straight into staging memory. It returns before the last pieces have arrived; what
// is run next sees them.
func (s *Session) Fill(p *Program, v *op.Value, produce func(dst []byte, from int64) error) error {
	return s.fill(p, v, 0, program.Bytes(v), produce)
}

func (s *Session) fill(p *Program, v *op.Value, offset, bytes int64, produce func(dst []byte, from int64) error) error {
	return s.move(p, v, offset, bytes, func(at program.Address, from, n int64) error {
		l := &s.loaders[s.loading]
		s.loading = (s.loading + 1) % loaders
		if err := s.wait(l.busy); err != nil {
			return err
		}
		if err := produce(l.buffer.Bytes()[:n], from); err != nil {
			return err
		}
		if s.recorder != nil {
			s.recorder.Write(at.Slot, at.Offset, l.buffer.Bytes()[:n])
		}
		err := s.transfer(l.buffer, program.Address{Slot: uint32(len(s.slots))}, at, n)
		l.busy = s.clock
		return err
	})
}

// Read copies bytes of a state out.
func (s *Session) Read(v *op.Value) ([]byte, error) {
	data := make([]byte, program.Bytes(v))
	err := s.move(nil, v, 0, int64(len(data)), func(at program.Address, from, n int64) error {
		piece, err := s.readPiece(at, n)
		copy(data[from:from+n], piece)
		return err
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
