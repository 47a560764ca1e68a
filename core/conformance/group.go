package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
)

// Target is what is judged: one device of a backend.
type Target struct {
	Backend *plugin.Backend
	Path    string // of its file
	Device  int
}

// Group is cases that are judged together, in one process: those of an op, or behaviours
// of the border that belong together.
type Group struct {
	Name string
	// Fast opens the device with deterministic = 0. Devices that are not deterministic
	// anyway have every group of an op twice.
	Fast bool
	Case []string
}

// Title names the group for people.
func (g Group) Title() string {
	if g.Fast {
		return g.Name + " " + fastSuffix
	}
	return g.Name
}

// fastSuffix stands behind the name of what was judged with deterministic = 0.
const fastSuffix = "(fast)"

// GroupNames are all names of groups, in the order in which they are judged.
func GroupNames() (names []string) {
	for _, b := range Behaviours() {
		if b.Group != shutdownGroup && !slices.Contains(names, b.Group) {
			names = append(names, b.Group)
		}
	}
	for _, f := range op.Families() {
		names = append(names, f.Name)
	}
	return append(names, shutdownGroup)
}

// Groups are the groups of the suite's cases.
func (s *Suite) Groups(info plugin.DeviceInfo) (groups []Group) {
	for _, name := range GroupNames() {
		g := Group{Name: name}
		for _, b := range s.behaviours {
			if b.Group == name {
				g.Case = append(g.Case, b.Name)
			}
		}
		ops := len(g.Case) == 0
		for _, c := range s.cases {
			if c.Op == name {
				g.Case = append(g.Case, c.Name)
			}
		}
		if len(g.Case) == 0 {
			continue
		}
		groups = append(groups, g)
		if ops && info.Flags&abi.FlagDeterministic == 0 {
			g.Fast = true
			groups = append(groups, g)
		}
	}
	return groups
}

// Judge judges the cases of a group from one on. begin is called before each, done behind
// it. An error means that the device could not be asked at all.
func (s *Suite) Judge(t Target, g Group, from int, begin func(name string), done func(Result)) error {
	ops := slices.ContainsFunc(s.cases, func(c Case) bool { return c.Op == g.Name })
	if ops {
		return s.judgeOps(t, g, from, begin, done)
	}
	for _, name := range g.Case[from:] {
		i := slices.IndexFunc(s.behaviours, func(b Behaviour) bool { return b.Group == g.Name && b.Name == name })
		if i < 0 {
			return fmt.Errorf("there is no case %s/%s", g.Name, name)
		}
		begin(name)
		began := time.Now()
		res := s.behaviours[i].judge(t.Backend, t.Path, t.Device, s.options.Seed)
		res.Seconds = time.Since(began).Seconds()
		done(res)
	}
	return nil
}

func (s *Suite) judgeOps(t Target, g Group, from int, begin func(string), done func(Result)) (err error) {
	dev, err := t.Backend.OpenDevice(t.Device, plugin.DeviceOptions{Deterministic: !g.Fast})
	if err != nil {
		return err
	}
	r, err := newRunner(dev)
	if err != nil {
		return err
	}
	r.unequal = g.Fast
	for _, name := range g.Case[from:] {
		i := slices.IndexFunc(s.cases, func(c Case) bool { return c.Op == g.Name && c.Name == name })
		if i < 0 {
			return fmt.Errorf("there is no case %s/%s", g.Name, name)
		}
		begin(name)
		res, err := s.timed(r, s.cases[i])
		if err != nil {
			return err
		}
		if g.Fast {
			res.Op, res.Digest = g.Title(), ""
		}
		done(res)
	}
	if err := r.release(); err != nil {
		return err
	}
	if err := r.queue.Close(); err != nil {
		return err
	}
	return dev.Close()
}

// timed judges one case with a timeline of its own.
func (s *Suite) timed(r *runner, c Case) (res Result, err error) {
	began := time.Now()
	if err := r.begin(); err != nil {
		return res, err
	}
	res = s.runCase(r, c)
	res.Seconds = time.Since(began).Seconds()
	return res, r.timeline.Close()
}

// Nothing is a suite without cases, for what is judged elsewhere.
func Nothing(o Options) *Suite { return &Suite{options: o, wants: map[string]*want{}} }

// Only keeps one case: "group/case". An unknown one is an error.
func (s *Suite) Only(name string) error {
	group, rest, _ := strings.Cut(name, "/")
	s.cases = slices.DeleteFunc(s.cases, func(c Case) bool { return c.Op != group || c.Name != rest })
	s.behaviours = slices.DeleteFunc(s.behaviours, func(b Behaviour) bool { return b.Group != group || b.Name != rest })
	if len(s.cases)+len(s.behaviours) == 0 {
		return fmt.Errorf("there is no case %q", name)
	}
	return nil
}

// Close shuts the backend down behind a group, unless that was the group's business.
func (s *Suite) Close(t Target, g Group) error {
	if g.Name == shutdownGroup {
		return nil
	}
	return against("device.shutdown", t.Backend.Shutdown())
}

// Options are those that the suite was made with.
func (s *Suite) Options() Options { return s.options }
