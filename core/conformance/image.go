package conformance

import (
	"bytes"
	"fmt"
	"slices"

	"trainer/core/op"
	"trainer/core/program"
)

// Slots of a case's list: what is only read, and what is written.
const (
	slotRead uint32 = iota
	slotWritten
	slots
)

// guardBytes lie before and behind every root and the workspace.
const guardBytes = 256

// image is the device memory of one case: every root and the workspace, each between
// guards, and what it holds before the case runs.
type image struct {
	roots     []*op.Value // in order of offset; no params
	offset    map[*op.Value]int64
	written   map[*op.Value]bool
	begin     [slots]int64 // where each slot's binding begins
	end       [slots]int64
	workspace [2]int64 // begin and end
	params    []byte
	before    []byte
	covered   []byte // 1 where a byte may change
}

// newImage lays out the roots of a graph; contents not given are poison.
func newImage(g *op.Graph, inputs map[*op.Value][]float64, align int64) *image {
	m := &image{offset: map[*op.Value]int64{}, written: map[*op.Value]bool{}}
	for v := range inputs {
		if v.Kind == op.Param {
			m.params = append(m.params, make([]byte, max(0, int(program.RoundUp(v.Param+program.Bytes(v), 8))-len(m.params)))...)
		}
	}
	for _, n := range g.Nodes {
		for _, v := range n.Out {
			if v != nil {
				m.written[v.Root] = true
			}
		}
	}
	at := int64(0)
	for slot := range slots {
		at = program.RoundUp(at, pageBytes)
		m.begin[slot] = at
		for _, v := range g.Roots() {
			if v.Kind != op.Param && m.written[v] == (slot == slotWritten) {
				at = program.RoundUp(at+guardBytes, align)
				m.roots, m.offset[v] = append(m.roots, v), at
				at += program.Bytes(v) + guardBytes
			}
		}
		at = max(at, m.begin[slot]+align)
		m.end[slot] = at
	}
	m.before = bytes.Repeat([]byte{guardByte}, int(at))
	m.write(inputs)
	m.cover(g)
	return m
}

// address is where a root lies within its slot.
func (m *image) address(v *op.Value) program.Address {
	slot := slotRead
	if m.written[v] {
		slot = slotWritten
	}
	return program.Address{Slot: slot, Offset: m.offset[v] - m.begin[slot]}
}

// pageBytes is the largest alignment a device may ask for.
const pageBytes = 4096

func (m *image) write(inputs map[*op.Value][]float64) {
	for _, v := range m.roots {
		to := m.bytes(m.before, v)
		for i := range to {
			to[i] = poisonByte
		}
		writeElements(to, v, inputs[v])
	}
}

// paramBlock is the params block with the given contents.
func (m *image) paramBlock(inputs map[*op.Value][]float64) []byte {
	block := bytes.Clone(m.params)
	for v, data := range inputs {
		if v.Kind == op.Param {
			writeElements(block[v.Param:], v, data)
		}
	}
	return block
}

func writeElements(to []byte, v *op.Value, data []float64) {
	size := v.DType.Size()
	for i, x := range data {
		encode(to[i*size:], v.DType, x)
	}
}

// cover marks the bytes of all elements that nodes write.
func (m *image) cover(g *op.Graph) {
	m.covered = make([]byte, len(m.before))
	for _, n := range g.Nodes {
		for _, v := range n.Out {
			if v == nil {
				continue
			}
			size, root := int64(v.Type().Size()), m.offset[v.Root]
			for _, i := range v.Positions() {
				for at := root + i*size; at < root+(i+1)*size; at++ {
					m.covered[at] = 1
				}
			}
		}
	}
}

// addWorkspace makes room for the list's scratch memory, poisoned.
func (m *image) addWorkspace(n int64) {
	if n == 0 {
		return
	}
	begin := program.RoundUp(int64(len(m.before))+guardBytes, pageBytes)
	m.workspace = [2]int64{begin, begin + n}
	gap := int(begin) - len(m.before)
	m.before = slices.Concat(m.before, bytes.Repeat([]byte{guardByte}, gap), bytes.Repeat([]byte{poisonByte}, int(n)), bytes.Repeat([]byte{guardByte}, guardBytes))
	m.covered = slices.Concat(m.covered, make([]byte, gap), bytes.Repeat([]byte{1}, int(n)), make([]byte, guardBytes))
}

func (m *image) bytes(of []byte, root *op.Value) []byte {
	return of[m.offset[root]:][:program.Bytes(root)]
}

// results is what a run made, without the workspace.
func (m *image) results(after []byte) []byte { return after[m.begin[slotWritten]:m.end[slotWritten]] }

// touched names the first byte that changed though nobody may write it.
func (m *image) touched(after []byte) error {
	for i := range m.before {
		if m.covered[i] == 0 && m.before[i] != after[i] {
			return fmt.Errorf("%s was changed, which no output covers", m.place(int64(i)))
		}
	}
	return nil
}

// place describes a byte of the image.
func (m *image) place(i int64) string {
	nearest, distance := "", int64(1)<<62
	for _, v := range m.roots {
		first, last := m.offset[v], m.offset[v]+program.Bytes(v)
		name := fmt.Sprintf("%s %s %v", v.Name, v.DType, v.Shape)
		switch {
		case i >= first && i < last:
			return fmt.Sprintf("byte %d of %s", i-first, name)
		case i < first && first-i < distance:
			nearest, distance = fmt.Sprintf("%d bytes before %s", first-i, name), first-i
		case i >= last && i-last < distance:
			nearest, distance = fmt.Sprintf("%d bytes behind %s", i-last+1, name), i-last
		}
	}
	if w := m.workspace; w[1] > 0 && i >= w[0]-guardBytes {
		return fmt.Sprintf("byte %d of a workspace of %d", i-w[0], w[1]-w[0])
	}
	return nearest
}
