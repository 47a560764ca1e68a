package conformance

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"trainer/core/dump"
	"trainer/core/program"
)

// Save writes the case of a result as a dump, which `trainer backend replay` runs on any
// backend. Only cases of ops can be saved.
func (s *Suite) Save(res Result, path string, h dump.Header) error {
	name := strings.TrimSuffix(res.Op, " "+fastSuffix)
	i := slices.IndexFunc(s.cases, func(c Case) bool { return c.Op == name && c.Name == res.Case })
	if i < 0 {
		return fmt.Errorf("%s is no case of an op", res.Name())
	}
	t := s.cases[i].trial(s.options.Seed)
	m := newImage(t.Graph, t.Inputs, pageBytes)
	w, err := dump.Create(path, h)
	if err != nil {
		return err
	}
	for slot := range slots {
		held := m.before[m.begin[slot]:m.end[slot]]
		w.Slot(int64(len(held)), func(to io.Writer) error { _, err := to.Write(held); return err })
	}
	w.List(program.Encode(t.Graph.Nodes, m.address, 1, slots, uint32(len(m.params))), m.paramBlock(t.Inputs))
	return w.Close()
}

// Savable tells whether a result is of a case that Save writes.
func (s *Suite) Savable(res Result) bool {
	name := strings.TrimSuffix(res.Op, " "+fastSuffix)
	return res.Status == Fail && slices.ContainsFunc(s.cases, func(c Case) bool { return c.Op == name && c.Name == res.Case })
}
