package session

import (
	"slices"
	"time"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
	"trainer/core/program"
)

// Timing is how long the device takes over one node of a program.
type Timing struct {
	Node    *op.Node
	Seconds float64
}

// Nodes lists what a part runs, lowered to what the device claims.
func (p Part) Nodes() []*op.Node { return p.Program.parts[p.Index].nodes }

// shortest is how long a timed submission should take: what a submission costs by itself is
// then small beside it. A shorter node is repeated in its list, at most repeats times.
const (
	shortest = time.Millisecond
	repeats  = 64
)

// Profile uploads a run's inputs and times the nodes of its parts. Where the device times
// records, the parts run as they are, their records one after the other: once to warm up, then
// timed, so that the sum is the time of the lists. Else every node runs as a list of its own,
// once to warm up, then timed until it is done. What states hold afterwards is of no use.
func (s *Session) Profile(r Run) ([][]Timing, error) {
	st := &s.staging[s.next]
	if st.ticket != nil {
		if err := st.ticket.finish(); err != nil {
			return nil, err
		}
	}
	if err := s.upload(st, r); err != nil {
		return nil, err
	}
	if !s.device.HasTimes() {
		return s.profileAlone(r)
	}
	if _, err := s.profileWhole(r); err != nil {
		return nil, err
	}
	return s.profileWhole(r)
}

// profileWhole runs the parts in order and takes the times of their records.
func (s *Session) profileWhole(r Run) ([][]Timing, error) {
	var all [][]Timing
	for _, part := range r.Parts {
		timings, err := s.timeList(part, r.Params)
		if err != nil {
			return nil, err
		}
		all = append(all, timings)
	}
	return all, nil
}

// tick stands for the time of a record that ended before the device's clock went on.
const tick = 1e-9

// timeList runs the list of a part to its end.
func (s *Session) timeList(part Part, params []byte) ([]Timing, error) {
	nodes := part.Nodes()
	list := part.Program.parts[part.Index].list
	seconds, err := s.device.Timed(len(nodes), func(times *plugin.Times) error {
		if err := s.submit(plugin.Submit{List: list, Bindings: s.bindings, Params: params, Times: times}); err != nil {
			return err
		}
		return s.Sync()
	})
	timings := make([]Timing, len(seconds))
	for i, took := range seconds {
		timings[i] = Timing{nodes[i], max(took, tick)}
	}
	return timings, err
}

// profileAlone runs every node by itself.
func (s *Session) profileAlone(r Run) ([][]Timing, error) {
	p := profiler{session: s, params: r.Params}
	defer p.close()
	var all [][]Timing
	for _, part := range r.Parts {
		var timings []Timing
		for _, n := range part.Nodes() {
			seconds, err := p.time(n, part.Program, 0)
			if err != nil {
				return nil, err
			}
			timings = append(timings, Timing{n, seconds})
		}
		all = append(all, timings)
	}
	return all, nil
}

// Best is the seconds of the fastest of as many runs of one node as fit a time, one at least.
func (s *Session) Best(part Part, n *op.Node, params []byte, patience time.Duration) (float64, error) {
	p := profiler{session: s, params: params}
	defer p.close()
	return p.time(n, part.Program, patience)
}

// profiler runs single nodes. It has a workspace of its own where one node, without its
// neighbours, needs more.
type profiler struct {
	session   *Session
	params    []byte
	workspace *plugin.Buffer
}

func (p *profiler) close() {
	if p.workspace != nil {
		_ = p.session.device.Free(p.workspace) // the session closes what stays
	}
}

// time is the seconds of a node at best, in runs until patience is over.
func (p *profiler) time(n *op.Node, of *Program, patience time.Duration) (float64, error) {
	sub, count, best, err := p.warmUp(n, of)
	for end := time.Now().Add(patience); err == nil && (best == 0 || time.Now().Before(end)); {
		var took time.Duration
		if took, err = p.run(sub); best == 0 || took < best {
			best = took
		}
	}
	return best.Seconds() / float64(count), err
}

// warmUp decides how often a node is repeated in what is timed, and runs that before. took
// is the time of a single one that is long enough by itself, else 0.
func (p *profiler) warmUp(n *op.Node, of *Program) (sub plugin.Submit, count int, took time.Duration, err error) {
	if sub, err = p.submission(n, of, 1); err != nil {
		return sub, 1, 0, err
	}
	for range 2 {
		if took, err = p.run(sub); err != nil {
			return sub, 1, 0, err
		}
	}
	if took >= shortest {
		return sub, 1, took, nil
	}
	count = int(min(repeats, shortest/max(took, time.Microsecond)+1))
	if sub, err = p.submission(n, of, count); err == nil {
		_, err = p.run(sub)
	}
	return sub, count, 0, err
}

// submission is a node, so many times, as a list. Its transients are other lists', too.
func (p *profiler) submission(n *op.Node, of *Program, count int) (plugin.Submit, error) {
	s := p.session
	at := s.address(of)
	shared := func(v *op.Value) program.Address {
		a := at(v)
		a.Shared = true
		return a
	}
	s.serial++
	list := program.Encode(slices.Repeat([]*op.Node{n}, count), shared, s.serial, uint32(len(s.slots)), s.params)
	report, err := s.device.CheckList(list)
	if err != nil {
		return plugin.Submit{}, err
	}
	sub := plugin.Submit{List: list, Bindings: s.bindings, Params: p.params}
	sub.Workspace, err = p.reserve(report.WorkspaceBytes)
	return sub, err
}

// reserve finds so many bytes of workspace: the session's, or else its own.
func (p *profiler) reserve(bytes uint64) (plugin.Binding, error) {
	s := p.session
	if bytes <= uint64(s.workspace) {
		return s.workspaceBinding(), nil
	}
	if p.workspace == nil || p.workspace.Size() < bytes {
		p.close()
		var err error
		if p.workspace, err = s.device.Alloc(abi.MemoryDevice, bytes); err != nil {
			p.workspace = nil
			return plugin.Binding{}, err
		}
	}
	return plugin.Binding{Buffer: p.workspace, Bytes: bytes}, nil
}

// run waits until a submission is done.
func (p *profiler) run(sub plugin.Submit) (time.Duration, error) {
	began := time.Now()
	if err := p.session.submit(sub); err != nil {
		return 0, err
	}
	err := p.session.Sync()
	return time.Since(began), err
}
